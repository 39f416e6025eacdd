"""Asking for tasks, one or many, and deleting them."""

import base64
import datetime as dt
import io
from itertools import chain
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import event

from fooocus_flask import signals
from fooocus_flask.access import keys
from fooocus_flask.clock import mills
from fooocus_flask.database import db
from fooocus_flask.tasks import history
from schemas.tasks import Cursor
from tests.serving import LASTING

pytestmark = pytest.mark.sql("tasks/history")


def ids(client, **query):
    """The ids in the three lists, and the total."""
    reply = client.get("/tasks", query_string=query)
    told = reply.json
    assert reply.status_code == 200 and list(told) == ["history", "current", "pending"]
    return {name: [task["task_id"] for task in told[name]] for name in told}, int(reply.headers["X-Total-Count"])


def ago(hours):
    """A moment as a client writes it."""
    return (dt.datetime.now() - dt.timedelta(hours=hours)).isoformat(timespec="seconds")


def test_each_task_is_in_one_list(client, add):
    done, failed, stopped = add("finished"), add("failed", error="no"), add("stop")
    running, waiting = add("running"), add("pending")
    lists, total = ids(client)
    assert lists == {"history": [stopped, failed, done], "current": [running], "pending": [waiting]}
    assert total == 3


@pytest.mark.parametrize("path", ["/tasks", "/tasks/"])
def test_both_slash_forms_answer(client, path):
    assert client.get(path).json == {"history": [], "current": [], "pending": []}


@pytest.mark.parametrize("name", ["history", "current", "pending"])
def test_only_the_list_asked_for_is_filled(client, add, name):
    here = {"history": add("finished"), "current": add("running"), "pending": add("pending")}
    lists, total = ids(client, query=name)
    assert lists == {"history": [], "current": [], "pending": [], name: [here[name]]}
    assert total == 1


def pages(client, **query):
    """The ids on each page of a list, the cursor of one leading to the next; the tasks that come meanwhile are new."""
    cursor, found = {}, []
    while cursor is not None:
        reply = client.get("/tasks", query_string={"brief": "true", **query, **cursor})
        assert reply.status_code == 200 and ("X-Total-Count" in reply.headers) == (not cursor)
        found.append([task["task_id"] for task in reply.json[query["query"]]])
        following = reply.headers.get("X-Next-Cursor")
        cursor = following and {"after": following}
        yield found[-1]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
def test_cursors_lead_through_the_history_whatever_comes_meanwhile(client, add, size):
    done, found = [add("finished", hours_ago=9 - number) for number in range(5)], []
    for page in pages(client, query="history", page_size=size):
        assert 0 < len(page) <= size
        found += page
        add("finished")
    assert found == done[::-1]


def test_cursors_lead_on_where_tasks_were_deleted(client, add):
    done = [add("finished") for _ in range(6)]
    walk = pages(client, query="history", page_size=2)
    assert next(walk) == [done[5], done[4]]
    client.delete(f"/tasks/{done[4]}")
    client.delete(f"/tasks/{done[3]}")
    assert list(walk) == [[done[2], done[1]], [done[0]]]


def test_cursors_lead_through_a_period_oldest_first_and_through_what_waits(client, add):
    done = [add("finished", hours_ago=hours) for hours in (1, 3, 2, 3)]
    in_order = sorted(done, key=lambda task_id: (-[1, 3, 2, 3][done.index(task_id)], done.index(task_id)))
    period = list(pages(client, query="history", page_size=3, start_at=ago(5)))
    assert period == [in_order[:3], in_order[3:]]
    waiting = [add("pending", rank=rank) for rank in (5, -5, 0, 5)]
    by_turn = [waiting[1], waiting[2], waiting[0], waiting[3]]
    assert list(pages(client, query="pending", page_size=2)) == [by_turn[:2], by_turn[2:]]


def test_cursors_keep_the_filters(client, add):
    for number in range(6):
        add(
            "failed" if number % 2 else "finished", error="no", params={"prompt": f"a {'cat' if number % 3 else 'dog'}"}
        )
    failed = list(pages(client, query="history", page_size=1, status="failed", prompt="cat"))
    assert len(failed) == 2 and len(set(map(tuple, failed))) == 2


def test_a_cursor_may_come_from_a_numbered_page(client, add):
    done = [add("finished") for _ in range(5)]
    cursor = client.get("/tasks?query=history&page=1&page_size=2").headers["X-Next-Cursor"]
    assert [task["task_id"] for task in client.get(f"/tasks?query=history&after={cursor}").json["history"]] == [done[0]]
    assert "X-Next-Cursor" not in client.get("/tasks?query=history&page=2&page_size=2").headers
    assert "X-Next-Cursor" not in client.get("/tasks?page_size=2").headers


@pytest.mark.sqlite("reads its query plan; PostgreSQL uses no index for so small a table")
@pytest.mark.parametrize("cursor", [Cursor("n", (5,)), Cursor("o", (5, 5)), Cursor("t", (5, 5))])
def test_a_cursors_page_is_found_by_an_index_and_never_sorted(app, cursor):
    statements = []
    with app.app_context(), db.engine.connect() as connection:
        event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2:4]))
        start = history.Filter(start=dt.datetime.now() if cursor.order == "o" else None)
        (history.pending if cursor.order == "t" else history.ended)(0, 10, start, cursor)
        statement, values = statements[-1]
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all())
    sorted_once = 0 if cursor.order == "n" else 1  # what is on the page
    assert "INDEX ix_generate_record" in plan and "SCAN generate_record" not in plan
    assert plan.count("TEMP B-TREE") == sorted_once


def test_history_is_paged_newest_first_and_pending_oldest_first(client, add):
    done, waiting = [add("finished") for _ in range(5)], [add("pending") for _ in range(3)]
    lists, total = ids(client, page=1, page_size=2)
    assert (lists["history"], lists["pending"], total) == ([done[2], done[1]], waiting[2:], 5)
    assert ids(client, query="pending", page=0, page_size=2) == (
        {"history": [], "current": [], "pending": waiting[:2]},
        3,
    )


@pytest.mark.parametrize("query", [{}, {"status": "finished"}, {"start_at": ago(20)}, {"query": "pending"}])
def test_pages_put_together_are_the_whole_list(client, add, query):
    for number in range(7):
        add("finished", hours_ago=8 - number), add("pending", rank=number % 3)
    name = query.get("query", "history")
    whole = ids(client, **query, page_size=100)[0][name]
    pages = [ids(client, **query, page_size=3, page=page)[0][name] for page in range(4)]
    assert [len(page) for page in pages] == [3, 3, 1, 0] and list(chain(*pages)) == whole


def test_a_range_is_paged_oldest_first(client, add):
    _, third, second, first = add(hours_ago=9), add(hours_ago=4), add(hours_ago=3), add(hours_ago=2)
    assert ids(client, start_at=ago(5), page_size=2)[0]["history"] == [third, second]
    assert ids(client, start_at=ago(5), page_size=2, page=1)[0]["history"] == [first]
    assert ids(client, start_at=ago(5), end_at=ago(2.5)) == (
        {"history": [third, second], "current": [], "pending": []},
        2,
    )


def test_tasks_are_found_by_their_state(client, add):
    add("finished"), add("pending"), add("running")
    failed = add("failed", error="no")
    assert ids(client, status="failed") == ({"history": [failed], "current": [], "pending": []}, 1)
    told = ids(client, status="pending")[0]
    assert (len(told["pending"]), told["history"], told["current"]) == (1, [], [])


def test_tasks_are_found_by_words_of_their_prompt(client, add):
    cat = add(params={"prompt": "A Ginger Cat, 100% real_fur"})
    chinese, waiting = add(params={"prompt": "一只橙色的猫"}), add("pending", params={"prompt": "cats on a roof"})
    add(params={"prompt": "a dog"})
    assert ids(client, prompt="CAT ging")[0]["history"] == [cat]
    assert ids(client, prompt="cat")[0] == {"history": [cat], "current": [], "pending": [waiting]}
    assert ids(client, prompt="橙色")[0]["history"] == [chinese]
    assert ids(client, prompt="0% real_f")[0]["history"] == [cat]
    for nothing in ("realxfur", "%dog", "horse"):
        assert ids(client, prompt=nothing)[1] == 0


@pytest.mark.parametrize(
    "query", [{"query": "every"}, {"page": -1}, {"page_size": 0}, {"start_at": "once"}, {"action": "delete"}]
)
def test_what_cannot_be_asked_for_is_refused(client, query):
    reply = client.get("/tasks", query_string=query)
    assert reply.status_code == 422 and reply.json["detail"][0]["loc"][0] == "query"


def test_an_unknown_task_is_not_found(client):
    reply = client.get("/tasks/nix")
    assert reply.status_code == 404 and "nix" in reply.json["detail"]


def test_a_waiting_task_has_no_result_yet(client, add):
    told = client.get(f"/tasks/{add('pending')}").json
    assert (told["task_status"], told["start_mills"], told["progress"], told["result"]) == ("pending", None, None, None)


def test_a_running_task_tells_progress_and_last_preview(server):
    stream = server.follow(**LASTING)
    while not stream.event()["preview"]:
        pass
    told = server.get(f"/tasks/{stream.header('X-Task-Id')}").json
    assert (told["task_status"], told["finish_mills"], told["result"]) == ("running", -1, [])
    assert 0 < told["progress"] < 100
    assert Image.open(io.BytesIO(base64.b64decode(told["preview"]))).format == "PNG"
    assert server.get("/tasks?query=current").json["current"][0]["task_id"] == told["task_id"]
    stream.events()
    assert "preview" not in server.get(f"/tasks/{told['task_id']}").json


def test_a_running_tasks_record_has_true_values(client, add):
    task_id = add("running", webhook_url="http://h/hook", params={"prompt": "a cat", "webhook_url": "http://h/hook"})
    told = client.get(f"/tasks/{task_id}").json
    assert told["id"] > 0 and told["task_id"] == task_id
    assert (told["webhook_url"], told["req_params"]["prompt"]) == ("http://h/hook", "a cat")


def test_the_last_preview_stays_while_events_have_none(app, client, add):
    task_id = add("running")
    for percent, preview in ((10, b"png"), (20, b"")):
        news = {"percent": percent, "message": "…", "preview": preview}
        signals.send(signals.task_progressed, app, task_id=task_id, **news)
    told = client.get(f"/tasks/{task_id}").json
    assert (told["progress"], base64.b64decode(told["preview"])) == (20, b"png")


def test_a_range_without_an_end_reaches_to_now(client, add):
    assert ids(client, start_at=ago(1))[0]["history"] == []
    for _ in range(2):
        newest = add()
        assert ids(client, start_at=ago(1))[0]["history"][-1] == newest


@pytest.mark.parametrize("method", ["get", "delete"])
def test_a_range_is_deleted_with_its_pictures(app, client, add, method):
    kept = add(hours_ago=9, pictures=1), add("running", hours_ago=3), add("pending", hours_ago=3)
    add(hours_ago=4, pictures=2), add("stop", hours_ago=3, pictures=1)
    query = {"start_at": ago(5), "end_at": ago(1)} | ({"action": "DELETE"} if method == "get" else {})
    assert client.open("/tasks", method=method.upper(), query_string=query).json == {"deleted": 2, "files": 3}
    assert [client.get(f"/tasks/{task_id}").status_code for task_id in kept] == [200, 200, 200]
    assert ids(client)[1] == 1
    assert len(list(Path(app.config["OUTPUT_PATH"]).rglob("*.png"))) == 1


def test_one_task_is_deleted_with_its_pictures(client, add):
    task_id = add(pictures=2)
    assert client.delete(f"/tasks/{task_id}").json == {"deleted": 1, "files": 2}
    assert client.get(f"/tasks/{task_id}").status_code == 404
    assert client.delete(f"/tasks/{task_id}").status_code == 404


@pytest.mark.parametrize("status", ["pending", "running"])
def test_a_task_that_has_not_ended_is_not_deleted(client, add, status):
    task_id = add(status)
    reply = client.delete(f"/tasks/{task_id}")
    assert reply.status_code == 409 and status in reply.json["detail"]
    assert client.get(f"/tasks/{task_id}").status_code == 200


def test_a_deletion_of_many_is_one_of_all(client, add):
    for _ in range(3):
        add(hours_ago=1)
    assert client.delete("/tasks", query_string={"start_at": ago(2)}).json == {"deleted": 3, "files": 0}


def test_urls_follow_the_host_the_client_spoke_to(client, add):
    task_id = add(pictures=1)
    for host in ("http://one.example", "https://two.example:8443"):
        assert client.get(f"/tasks/{task_id}", base_url=host).json["result"][0].startswith(f"{host}/outputs/")


@pytest.mark.parametrize(
    ("path", "status"), [("/tasks/%00", 404), ("/tasks/a%00b/deliveries", 404), ("/tasks?prompt=%00", 422)]
)
def test_a_null_character_is_answered_whatever_the_database(client, path, status):
    assert client.get(path).status_code == status


def test_a_brief_list_tells_each_task_in_few_words(client, add):
    add("finished", pictures=2, params={"prompt": "a" * 201, "image_seed": 2**60})
    add("running")
    add("pending", params={"prompt": "a" * 200})
    whole, brief = (client.get("/tasks", query_string=query).json for query in ({}, {"brief": "true"}))
    for name in ("history", "current", "pending"):
        (record,), (told,) = whole[name], brief[name]
        prompt = record["req_params"]["prompt"]
        assert told["prompt"] == (prompt if len(prompt) <= 200 else "a" * 200 + "…")
        moments = {"start_mills", "finish_mills"} if name == "current" else set()  # null, where the other has -1
        rest = set(told) - {"prompt", "result"} - moments
        assert {member: told[member] for member in rest} == {member: record[member] for member in rest}
    assert brief["history"][0]["result"] == whole["history"][0]["result"]
    assert not set(brief["history"][0]) & {"req_params", "notes", "drawn_with", "downloads", "preview", "webhook_url"}


def test_a_waiting_task_moves_forwards_when_its_priority_is_raised(client, add):
    now = mills()
    first, second = add("pending", rank=now - 36_000), add("pending", rank=now)
    moved = client.post(f"/tasks/{second}/priority", json={"priority": 5}).json
    assert (moved["task_id"], moved["priority"], moved["queue_position"]) == (second, 5, 1)
    assert client.get(f"/tasks/{first}").json["queue_position"] == 2
    assert client.post(f"/tasks/{second}/priority", json={"priority": -5}).json["queue_position"] == 2


def test_only_a_waiting_task_has_a_priority_to_change_and_only_a_known_one(client, add):
    refused = client.post(f"/tasks/{add('finished')}/priority", json={"priority": 1})
    assert refused.status_code == 409 and "finished" in refused.json["detail"]
    assert client.post(f"/tasks/{add('pending')}/priority", json={"priority": 11}).status_code == 422
    assert client.post("/tasks/none/priority", json={"priority": 1}).status_code == 404


def test_another_keys_task_keeps_its_priority(app, client, add):
    with app.app_context():
        studio, _ = keys.add("studio", ["draw"]), keys.add("boss", ["admin"])
    answer = client.post(
        f"/tasks/{add('pending', key_name='boss')}/priority", json={"priority": 1}, headers={"X-API-KEY": studio}
    )
    assert answer.status_code == 403
