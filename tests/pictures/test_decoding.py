"""Pictures that are decoded take turns for the memory."""

import gevent
import pytest

from fooocus_flask.pictures.decoding import Room


def test_there_is_never_more_inside_than_there_is_room_for():
    room, inside, most = Room(100), [], []

    def decode(size):
        with room.of(size):
            inside.append(size)
            most.append(sum(inside))
            gevent.sleep(0)
            inside.remove(size)

    gevent.joinall([gevent.spawn(decode, size) for size in [60, 30, 50, 100, 10, 0, 70] * 5], raise_error=True)
    assert len(most) == 35 and 90 <= max(most) <= 100
    assert room.free == 100


def test_whoever_comes_first_is_served_first():
    room, served = Room(100), []

    def decode(name, size):
        with room.of(size):
            served.append(name)
            gevent.sleep(0.01)

    names = [("large", 80), ("larger", 90), ("small", 5), ("smaller", 1)]
    gevent.joinall([gevent.spawn(decode, *each) for each in names], raise_error=True)
    assert served == [name for name, _ in names]


def served_in_turn(room, asked, size=1):
    """The order in which clients are served that asked in this one while nothing was free."""
    served = []

    def decode(client):
        with room.of(size, client):
            served.append(client)
            gevent.sleep(0)

    with room.of(room.size):
        waiting = [gevent.spawn(decode, client) for client in asked]
        gevent.sleep(0)
    gevent.joinall(waiting, raise_error=True)
    return "".join(served)


def test_a_client_that_asks_often_keeps_up_no_other():
    assert served_in_turn(Room(100, places=1), "aaaaaaabbc") == "abcabaaaaa"
    assert served_in_turn(Room(100), "aaaaaaabbc", size=100) == "abcabaaaaa"


def test_there_are_only_so_many_inside_however_small():
    room, most = Room(100, places=3), []

    def decode():
        with room.of(0):
            most.append(3 - room.places)
            gevent.sleep(0)

    gevent.joinall([gevent.spawn(decode) for _ in range(9)], raise_error=True)
    assert max(most) == 3 and room.places == 3


def test_one_that_is_larger_than_all_has_all_to_itself():
    room = Room(100)
    with room.of(1000):
        assert room.free == 0
    assert room.free == 100


def test_who_gives_up_while_waiting_or_fails_inside_leaves_no_hole():
    room = Room(100)
    with room.of(100):
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.01), room.of(50):
            raise AssertionError("there was no room")
        waiting = gevent.spawn(lambda: room.of(50).__enter__())
        gevent.sleep(0)
        waiting.kill()
    with pytest.raises(ValueError, match="broken"), room.of(30):
        raise ValueError("broken")
    assert room.free == 100
    with room.of(100):
        pass
