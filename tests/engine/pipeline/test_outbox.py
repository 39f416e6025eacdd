"""What a task sends goes out in order, off the drawing thread; errors come back."""

from concurrent.futures import Future
from threading import Event, active_count, get_ident

import pytest

from engine.messages import Progressed
from engine.pipeline.outbox import MOST_WAITING, Outbox


def message(number):
    return Progressed("task", number, "")


def test_messages_leave_in_order_on_another_thread():
    sent = []
    with Outbox(lambda event: sent.append((event.percent, get_ident()))) as outbox:
        for number in range(20):
            outbox.send(lambda number=number: message(number))
    assert [percent for percent, _ in sent] == list(range(20))
    assert {thread for _, thread in sent} != {get_ident()}


def test_it_is_busy_while_much_waits():
    reader_is_slow = Event()
    with Outbox(lambda event: reader_is_slow.wait(10)) as outbox:
        assert not outbox.busy
        for number in range(MOST_WAITING + 1):
            outbox.send(lambda number=number: message(number))
        assert outbox.busy
        reader_is_slow.set()
    assert not outbox.busy


def test_what_fails_in_there_is_raised_outside():
    def failing():
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"), Outbox(lambda event: None) as outbox:
        outbox.send(failing)


def test_an_error_outside_is_not_hidden_by_one_inside():
    def failing():
        raise OSError("no space")

    with pytest.raises(ValueError, match="outside"), Outbox(lambda event: None) as outbox:
        outbox.send(failing)
        raise ValueError("outside")


def test_settling_waits_for_pictures_but_not_for_those_who_wait_for_one():
    done, there = [], Future()
    with Outbox(lambda message: None) as outbox:
        outbox.submit(there.result)
        for number in range(3):
            outbox.compute(lambda number=number: done.append(number))
        outbox.settle()
        assert done == [0, 1, 2]
        there.set_result(None)
    outbox.settle()


def test_settling_begins_no_thread_where_nothing_was_computed():
    with Outbox(lambda message: None) as outbox:
        before = active_count()
        outbox.settle()
        assert active_count() == before


def test_what_turns_out_to_be_no_message_is_not_sent():
    sent = []
    with Outbox(sent.append) as outbox:
        outbox.send(lambda: None)
        outbox.send(lambda: message(1))
    assert sent == [message(1)]


def test_a_picture_does_not_wait_for_what_is_sent_before_it_and_settling_waits_for_it():
    reader_is_slow, computed = Event(), []
    with Outbox(lambda event: reader_is_slow.wait(10)) as outbox:
        outbox.send(lambda: message(1))
        assert outbox.compute(lambda: computed.append(1) or 2).result(10) == 2
        reader_is_slow.set()
        picture = outbox.compute(lambda: computed.append(2))
        outbox.settle()
        assert picture.done() and computed == [1, 2]


def test_a_picture_that_fails_is_raised_outside():
    def failing():
        raise ArithmeticError("no numbers")

    with pytest.raises(ArithmeticError, match="no numbers"), Outbox(lambda event: None) as outbox:
        outbox.compute(failing)
