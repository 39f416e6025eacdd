"""Work in threads: who waits for one gets it in turn."""

import gevent
import pytest

from fooocus_flask.pictures.blocking import Turns, in_thread


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
