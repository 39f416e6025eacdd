"""Signs of progress: what is under way, and how long nothing has come of it."""

from threading import Event, Thread

from engine.heartbeat import Signs, Stillness


def test_a_thread_is_at_the_innermost_stage_it_entered():
    signs = Signs()
    assert signs.stages() == []
    with signs.at("task"):
        with signs.at("load"):
            assert signs.stages() == ["load"]
        assert signs.stages() == ["task"]
    assert signs.stages() == []


def test_threads_are_at_stages_of_their_own():
    signs, entered, leave = Signs(), Event(), Event()

    def save():
        with signs.at("save"):
            entered.set()
            leave.wait()

    saving = Thread(target=save)
    with signs.at("task"):
        saving.start()
        entered.wait()
        assert signs.stages() == ["save", "task"]
        leave.set()
        saving.join()
        assert signs.stages() == ["task"]


def test_stillness_grows_until_something_is_done():
    signs = Signs()
    stillness = Stillness(signs, 5.0)
    with signs.at("sampling"):
        assert [stillness.seconds_still() for _ in range(3)] == [0.0, 5.0, 10.0]
        signs.mark()
        assert [stillness.seconds_still() for _ in range(2)] == [0.0, 5.0]
    assert stillness.seconds_still() == 0.0


def test_who_waits_for_work_is_not_still():
    stillness = Stillness(Signs(), 5.0)
    assert [stillness.seconds_still() for _ in range(3)] == [0.0, 0.0, 0.0]
