"""Work in threads: who waits for one gets it in turn; files that are written meanwhile."""

import gevent
import pytest

from fooocus_flask.pictures.blocking import Turns, in_thread, put_meanwhile
from tests.patience import patience


def test_places_are_given_in_the_order_in_which_they_are_asked_for():
    turns, order = Turns(2), []

    def work(number):
        for again in range(2):
            with turns:
                order.append((again, number))
                gevent.sleep(0)

    gevent.joinall([gevent.spawn(work, number) for number in range(6)], raise_error=True)
    assert order == [(again, number) for again in range(2) for number in range(6)]
    assert turns.free == turns.places == 2


def test_who_gives_up_leaves_the_place_to_others():
    turns = Turns(1)

    def wait():
        with turns:
            gevent.sleep(1000)

    with turns:
        waiting, next_one = gevent.spawn(wait), gevent.spawn(turns.__enter__)
        gevent.sleep(0)
        waiting.kill()
        assert not next_one.ready()
    next_one.get(timeout=60)
    handed = gevent.spawn(wait)
    gevent.sleep(0)
    turns.__exit__()
    handed.kill()  # just as the place was its own
    assert turns.free == 1


def test_what_a_thread_raises_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        in_thread(divmod, 1, 0)


def test_a_file_that_is_written_meanwhile_has_its_name_once_the_block_has_ended_well(tmp_path):
    path = tmp_path / "inputs" / "cat.png"
    with put_meanwhile(path, b"cat"):
        in_thread(bytes)
        assert not path.exists()
    assert path.read_bytes() == b"cat" and [*path.parent.iterdir()] == [path]


def becomes_empty(folder):
    """What was written in this folder is gone, once it has been written."""
    with patience():
        while not folder.exists() or [*folder.iterdir()]:
            gevent.sleep(0.01)


def test_nothing_is_left_of_it_where_the_block_raises(tmp_path):
    with pytest.raises(ValueError, match="no picture"), put_meanwhile(tmp_path / "inputs" / "cat.png", b"cat"):
        raise ValueError("no picture")
    becomes_empty(tmp_path / "inputs")


def test_who_is_ended_in_the_block_leaves_nothing(tmp_path):
    def work():
        with put_meanwhile(tmp_path / "inputs" / "cat.png", b"cat" * 1_000_000):
            gevent.sleep(1000)

    working = gevent.spawn(work)
    gevent.sleep(0)
    working.kill()
    becomes_empty(tmp_path / "inputs")


def test_a_file_that_cannot_be_written_is_told_after_the_block_and_nothing_of_it_is_printed(tmp_path, capfd):
    (tmp_path / "inputs").write_bytes(b"no folder")
    with pytest.raises(OSError, match="inputs"), put_meanwhile(tmp_path / "inputs" / "cat.png", b"a secret cat"):
        in_thread(bytes)
    gevent.sleep(0)
    assert capfd.readouterr() == ("", "")
