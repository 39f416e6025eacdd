"""The tasks in the database: tables, their one way forward, and what is noted as it happens."""

import datetime as dt
import logging
from pathlib import Path

import gevent
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event

from engine.messages import PictureDone
from fooocus_flask import logs, signals
from fooocus_flask.database import db
from fooocus_flask.pictures import outputs
from fooocus_flask.runner.task_recorder import TaskRecorder
from fooocus_flask.submission.prepare import prepare
from fooocus_flask.tables import Delivery, Task
from fooocus_flask.tasks import history, queue
from fooocus_flask.tasks.ended_count import RECOUNT, counted_ended, ended_count
from fooocus_flask.tasks.new_task import QueueOptions
from schemas.generate import GenerateSchema
from tests import postgresql
from tests.patience import patience
from tests.serving import small

pytestmark = pytest.mark.sql("database", "tables", "tasks/ended_count", "tasks/history", "tasks/queue")

TWO = {"image_number": 2}


def whole(**members):
    """All parameters."""
    return prepare(GenerateSchema().load(small(**members))).params


@pytest.fixture
def context(app):
    """Inside the application."""
    with app.app_context():
        yield app


def test_the_migrations_make_the_tables(context):
    with db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), db.metadata) == []


def test_a_database_whose_encoding_is_none_takes_all_writing(make_app, database, tmp_path):
    """PostgreSQL's SQL_ASCII, as its first database has it where LANG is unset."""
    if database == "SQLite":
        pytest.skip("about PostgreSQL")
    postgresql.address(tmp_path / "instance", "ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
    app = make_app()
    with app.app_context():
        assert db.session.execute(db.text("SHOW server_encoding")).scalar() == "SQL_ASCII"
        prepared = prepare(GenerateSchema().load(small(prompt="ein Kätzchen 猫")))
        task_id = queue.enqueue(prepared, "http://h").task_id
        assert queue.find(task_id).req_params["prompt"] == "ein Kätzchen 猫"


@pytest.mark.sqlite("reads its PRAGMAs")
def test_the_database_is_set_up_for_many_readers_and_one_writer(context):
    with db.engine.connect() as connection:
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert values == ["wal", 1, 1, 0]


@pytest.mark.sqlite("reads its query plan; PostgreSQL uses no index for so small a table")
@pytest.mark.parametrize("column", ["task_id", "in_queue_mills", "task_status"])
def test_what_is_searched_for_has_an_index(context, column):
    plan = db.session.execute(db.text(f"EXPLAIN QUERY PLAN SELECT id FROM generate_record WHERE {column} = '1'")).all()
    assert "INDEX" in str(plan)


def test_the_oldest_waiting_task_is_claimed_first(context, add):
    first, second = add("pending", params=TWO), add("pending", params=TWO)
    assert [queue.claim().task_id, queue.end(first, "finished").task_status] == [first, "finished"]
    assert (queue.claim().task_id, queue.end(second, "stop").task_status, queue.claim()) == (second, "stop", None)


def test_times_are_taken_at_the_claim_and_at_the_end_whoever_follows(context, add, monkeypatch):
    task_id, clock = add("pending", params=TWO), iter([1000, 2000])
    monkeypatch.setattr(queue, "mills", lambda: next(clock))
    queue.claim()
    queue.end(task_id, "failed")
    task = queue.find(task_id)
    assert (task.start_mills, task.finish_mills) == (1000, 2000)


def test_a_task_left_in_the_middle_is_claimed_again_unless_it_is_drawn(context, add):
    waiting = add("pending", params=TWO)
    left = add("running", params=TWO, start_mills=5, attempts=1)
    task = queue.claim(drawn=())
    assert (task.task_id, task.attempts, task.start_mills) == (left, 2, 5)
    assert queue.claim(drawn={left}).task_id == waiting
    assert queue.claim(drawn={left, waiting}) is None


def test_priority_goes_first_until_others_have_waited_long_enough(context, add):
    context.config["PRIORITY_SECONDS"] = 60
    minute = 60_000
    old, plain, urgent = (
        add("pending", rank=0, params=TWO),
        add("pending", rank=9 * minute, params=TWO),
        add("pending", rank=5 * minute - 10 * minute, priority=10, params=TWO),
    )
    order = []
    while (task := queue.claim()) is not None:
        order.append(task.task_id)
        queue.end(task.task_id, "finished")
    assert order == [urgent, old, plain]


def test_a_task_s_rank_is_its_moment_less_its_priority(context):
    context.config["PRIORITY_SECONDS"] = 60
    prepared = prepare(GenerateSchema().load(small()))
    task = queue.enqueue(prepared, "", QueueOptions(priority=-3))
    assert task.rank == task.in_queue_mills + 3 * 60_000
    assert queue.end(task.task_id, "stop", only="pending") is not None


def test_a_clock_that_is_set_back_lets_nobody_overtake(context, monkeypatch):
    prepared, hour, day = prepare(GenerateSchema().load(small())), 3_600_000, 24 * 3_600_000
    submitted = []
    for moment, priority in ((5 * day, 0), (hour, 0), (2 * hour, 0), (3 * hour, 1), (5 * day + hour, 0), (hour, 10)):
        monkeypatch.setattr(queue, "mills", lambda moment=moment: moment)
        submitted.append(queue.enqueue(prepared, "", QueueOptions(priority=priority)).task_id)
        if len(submitted) == 2:  # the one from before the clock was set back waits no more
            assert queue.claim().task_id == submitted[0]
            queue.end(submitted[0], "finished")
    order = []
    while (task := queue.claim()) is not None:
        order.append(task.task_id)
        queue.end(task.task_id, "finished")
    one, two, first, three, urgent = submitted[1:]
    assert order == [first, one, two, urgent, three]


def test_a_paused_queue_begins_nothing_but_goes_on_with_what_was_begun(context, add):
    left, waiting = add("running", params=TWO), add("pending", params=TWO)
    queue.pause()
    queue.pause()
    assert queue.claim() is None and queue.claim(drawn={left}) is None and queue.claim(drawn=()).task_id == left
    queue.end(left, "finished")
    assert queue.claim() is None and queue.paused()
    queue.resume()
    assert queue.claim().task_id == waiting and not queue.paused()


def test_of_two_ways_to_an_end_only_one_is_taken(context, add):
    task_id = add("running", params=TWO)
    assert queue.end(task_id, "stop", only="pending") is None
    assert queue.ask_to_stop(task_id) and queue.find(task_id).stop_asked
    queue.end(task_id, "stop")
    assert not queue.ask_to_stop(task_id)


def test_an_ended_task_stays_as_it_is(context, add):
    task_id = add("finished", pictures=1)
    assert [queue.end(task_id, status) for status in ("failed", "stop", "finished")] == [None, None, None]
    assert queue.claim() is None
    assert queue.find(task_id).task_status == "finished"


def test_a_task_that_waits_cannot_be_finished(context, add):
    assert queue.end(add("pending"), "finished") is None


def test_another_attempt_writes_the_same_files(context, add):
    add("pending", params=TWO)
    first, second = queue.claim(drawn=()).files, queue.claim(drawn=()).files
    assert first == second and len(set(first)) == 2


def test_a_task_that_was_begun_or_ended_may_be_kept_whatever_becomes_of_the_session(context, add):
    add("pending", params=TWO)
    begun = queue.claim()
    ended = queue.end(begun.task_id, "finished")
    queue.waiting()
    db.session.rollback()
    db.session.remove()
    assert (len(begun.files), ended.task_status) == (2, "finished")


def test_pictures_are_kept_as_they_come_and_only_once(context, add):
    task_id = add("running", result=["a.png"])
    recorder = TaskRecorder(context, lambda: None)
    recorder.hold(queue.find(task_id))
    for index, name in ((0, "a.png"), (1, "b.png"), (0, "a.png")):
        recorder.take(PictureDone(task_id, index, str(outputs.folder() / name), 1, 8, 8, 0))
    task = queue.find(task_id)
    assert (task.result, task.pictures_done) == (["a.png", "b.png"], 2)


def test_a_failing_receiver_keeps_nobody_from_hearing(context, caplog):
    heard = []

    def fail(app, **_):
        raise RuntimeError("no")

    def hear(app, **_):
        heard.append(app)

    with signals.task_started.connected_to(fail), signals.task_started.connected_to(hear):
        signals.send(signals.task_started, context, task=Task(task_id="1"))
    assert heard == [context]
    assert "no" in caplog.text


def test_a_file_of_the_same_name_is_never_overwritten(context):
    now = dt.datetime(2024, 7, 5, 9, 31, 10)
    params = whole(save_name="cat", image_number=2, output_format="webp")
    assert outputs.names(params, now) == ["2024-07-05/cat-0.webp", "2024-07-05/cat-1.webp"]
    taken = outputs.folder() / "2024-07-05" / "cat-1.webp"
    taken.parent.mkdir(parents=True)
    taken.touch()
    assert all(name.startswith("2024-07-05/cat_") for name in outputs.names(params, now))


def test_a_folder_beside_the_day_may_be_named(context):
    params = whole(save_name="../pets/cat")
    assert outputs.names(params, dt.datetime.now()) == ["pets/cat-0.png"]


def test_a_task_is_one_line_in_the_log(context, add, caplog):
    with caplog.at_level(logging.INFO, logger=logs.PACKAGE):
        task_id = add("running", params=TWO, start_mills=2**41)
        queue.end(task_id, "failed", {"load": 1.25, "sampling": 2.0}, error="out of memory")
    (line,) = [record.getMessage() for record in caplog.records if record.name == f"{logs.PACKAGE}.task"]
    assert line.startswith(f"task={task_id} status=failed pictures=0/2 attempt=0 queue=")
    assert " load=1.250 text=0.000 sampling=2.000 decode=0.000 save=0.000 total=" in line
    assert line.endswith("error='out of memory'")


def test_a_deleted_task_takes_its_webhooks_along(context, add):
    task_id = add("finished", webhook_url="http://h")
    db.session.add(Delivery(record_id=queue.find(task_id).id, url="http://h"))
    db.session.commit()
    assert history.clear_one(queue.find(task_id)) == (1, 0)
    assert db.session.query(Delivery).count() == 0


def test_ended_tasks_beyond_the_limit_are_deleted_those_that_ended_first(context, add):
    ids = [add("finished", hours_ago=hours, pictures=1) for hours in (1, 3, 2, 4)]
    owing = add("finished", hours_ago=5, webhook_url="http://h")
    db.session.add(Delivery(record_id=queue.find(owing).id, url="http://h", due_mills=1))
    db.session.commit()
    waiting = add("pending", hours_ago=9)
    assert history.clear_beyond(2) == (2, 2)
    kept = {task.task_id for task in db.session.query(Task)}
    assert kept == {ids[0], ids[2], owing, waiting}
    assert history.clear_beyond(2) == (0, 0)


@pytest.mark.sqlite("reads its query plan; PostgreSQL uses no index for so small a table")
def test_those_that_ended_first_are_found_by_an_index(context, add):
    for _ in range(3):
        add("finished")
    statements = []
    with db.engine.connect() as connection:
        event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2:4]))
        history.clear_beyond(2)
        (chosen,) = (sent for sent in statements if "ORDER BY generate_record.finish_mills" in sent[0])
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {chosen[0]}", chosen[1]).all())
    assert "COVERING INDEX ix_generate_record_oldest" in plan and "TEMP B-TREE" not in plan


def test_the_history_is_cut_as_tasks_end(app, add):
    app.config["HISTORY_LIMIT"] = 2
    for hours in (3, 2, 1):
        add("finished", hours_ago=hours)
    with app.app_context():
        queue.end(add("running"), "finished")
    with patience():
        while True:
            with app.app_context():
                if db.session.query(Task).count() == 2:
                    break
            gevent.sleep(0.01)


def test_flask_sees_the_database_as_it_is(tmp_path, monkeypatch, make_app):
    monkeypatch.setenv("FLASK_RUN_FROM_CLI", "true")
    bare = tmp_path / "bare"
    bare.mkdir()
    if postgresql.address(bare, "TEMPLATE template0") is None:
        (bare / "db.sqlite3").touch()
    app = make_app(INSTANCE=bare)
    with app.app_context():
        assert db.inspect(db.engine).get_table_names() == []
    assert Path(app.instance_path).is_dir()


def total():
    """How many ended tasks a page of them tells of."""
    return history.ended(0, 1).total


def test_ended_tasks_are_counted_right_whatever_ends_or_is_deleted(context, add):
    kept = [add("finished") for _ in range(3)]
    waiting, running = add("pending", params=TWO), add("running", params=TWO)
    assert total() == 3
    queue.end(running, "finished")
    assert queue.end(running, "failed") is None
    assert queue.end(waiting, "stop", only="pending") is not None
    assert total() == counted_ended() == 5
    gone = queue.find(kept[0])
    assert (history.clear_one(gone)[0], history.clear_one(gone)[0], total()) == (1, 1, 4)
    assert (history.clear_beyond(2)[0], total(), counted_ended()) == (2, 2, 2)


def test_ended_tasks_are_counted_once_and_not_for_each_page(context, add, monkeypatch):
    monkeypatch.setattr("fooocus_flask.tasks.ended_count.RECOUNT", 1e9)
    add("finished")
    statements = []
    event.listen(db.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    assert total() == 1
    assert any("count" in statement for statement in statements)
    statements.clear()
    queue.end(add("running", params=TWO), "finished")
    assert total() == 2
    assert not any("count" in statement for statement in statements)


def test_rows_that_somebody_else_changed_are_counted_after_a_while(context, add, monkeypatch):
    task_id = add("finished")
    assert total() == 1
    db.session.execute(db.delete(Task).where(Task.task_id == task_id))
    db.session.commit()
    now = ended_count.current()._counted
    monkeypatch.setattr("fooocus_flask.tasks.ended_count.monotonic", lambda: now + RECOUNT + 1)
    assert total() == 0


def test_a_count_that_a_task_s_end_may_have_met_is_not_kept(context, add):
    add("finished")
    with ended_count.current().changing() as change:
        assert total() == 1
        queue.end(add("running", params=TWO), "finished")
        change.by = 0
    assert total() == 2
    with pytest.raises(RuntimeError), ended_count.current().changing() as change:
        db.session.execute(db.delete(Task))
        db.session.commit()
        raise RuntimeError("the connection broke as the commit's answer was on its way")
    assert total() == 0
