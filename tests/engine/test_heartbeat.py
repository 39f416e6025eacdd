"""Signs of progress: what is under way, and how long nothing has come of it."""

from threading import Event, Thread

from engine.heartbeat import Heartbeat, Stillness


def test_a_thread_is_at_the_innermost_stage_it_entered():
    heartbeat = Heartbeat()
    assert heartbeat.stages() == []
    with heartbeat.at("task"):
        with heartbeat.at("load"):
            assert heartbeat.stages() == ["load"]
        assert heartbeat.stages() == ["task"]
    assert heartbeat.stages() == []


def test_threads_are_at_stages_of_their_own():
    heartbeat, entered, leave = Heartbeat(), Event(), Event()

    def save():
        with heartbeat.at("save"):
            entered.set()
            leave.wait()

    saving = Thread(target=save)
    with heartbeat.at("task"):
        saving.start()
        entered.wait()
        assert heartbeat.stages() == ["save", "task"]
        leave.set()
        saving.join()
        assert heartbeat.stages() == ["task"]


def test_stillness_grows_until_something_is_done():
    heartbeat = Heartbeat()
    stillness = Stillness(heartbeat, 5.0)
    with heartbeat.at("sampling"):
        assert [stillness.seconds_still() for _ in range(3)] == [0.0, 5.0, 10.0]
        heartbeat.mark()
        assert [stillness.seconds_still() for _ in range(2)] == [0.0, 5.0]
    assert stillness.seconds_still() == 0.0


def test_who_waits_for_work_is_not_still():
    stillness = Stillness(Heartbeat(), 5.0)
    assert [stillness.seconds_still() for _ in range(3)] == [0.0, 0.0, 0.0]
