"""Places in the queue, and guesses from what was drawn last."""

import pytest

from fooocus_flask.database import commit
from fooocus_flask.submission.prepare import prepare
from fooocus_flask.tasks import estimates, queue
from schemas.generate import GenerateSchema
from tests.serving import small

pytestmark = pytest.mark.sql("tasks/estimates")

WORK = 64 * 64 * 2.0


@pytest.fixture
def place(app, add):
    """Where a task stands."""

    def place(task_id):
        with app.app_context():
            found = estimates.place_of(queue.find(task_id))
            return found.position, found.seconds

    return place


def test_the_work_is_pixels_times_steps_times_pictures(app):
    with app.app_context():
        load = GenerateSchema().load
        assert estimates.work(prepare(load(small())).params) == WORK
        assert estimates.work(prepare(load(small(image_number=3))).params) == 3 * WORK
        assert estimates.work(prepare(load(small(overwrite_step=-1))).params) == 64 * 64 * 30


def test_places_count_by_rank_and_then_by_age(add, place):
    late, early, same = add("pending", rank=5), add("pending", rank=1), add("pending", rank=1)
    assert [place(task_id) for task_id in (early, same, late)] == [(1, None), (2, None), (3, None)]
    assert place(add("running"))[0] == 0
    assert place(add("finished")) == (None, None)


def test_seconds_follow_from_the_last_tasks(app, add, place):
    done = add("finished", work=WORK)
    with app.app_context():
        task = queue.find(done)
        task.finish_mills = task.start_mills + 4000
        commit()
    first, double = add("pending", rank=1, work=WORK), add("pending", rank=2, work=2 * WORK)
    assert (place(first), place(double)) == ((1, 4), (2, 12))
    add("running", work=WORK)
    assert (place(first), place(double)) == ((1, 8), (2, 16))


def test_a_page_tells_the_same_as_each_task(app, add, client):
    add("finished", work=WORK)
    ids = [add("pending", rank=number, work=WORK) for number in range(5)]
    told = client.get("/tasks?query=pending&page=1&page_size=2").json["pending"]
    assert [(task["task_id"], task["queue_position"]) for task in told] == [(ids[2], 3), (ids[3], 4)]
    for task in told:
        assert client.get(f"/tasks/{task['task_id']}").json == task
