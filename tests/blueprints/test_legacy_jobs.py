"""The predecessor's jobs: one by its id, the queue, the history, deletion, stopping, and the webhook's body."""

import json
from pathlib import Path
from uuid import UUID

import gevent
import pytest

from fooocus_flask import signals
from fooocus_flask.access import keys
from fooocus_flask.following import webhooks
from fooocus_flask.tasks import queue
from tests.patience import patience

speaks_sql = pytest.mark.sql("tasks/history", "tasks/queue")

QUERY, QUEUE, HISTORY = (f"/v1/generation/{name}" for name in ("query-job", "job-queue", "job-history"))
TEXT = "/v1/generation/text-to-image"
API = {"name": "legacy", "job_type": "Image Prompt", "require_base64": True, "files_by_id": True}


@pytest.fixture
def app(make_app):
    return make_app(ALLOW_PRIVATE_ADDRESSES=True, WEBHOOK_DELAYS=(0.01,), WEBHOOK_BODY="string")


def dashed(task_id):
    """A task's id as jobs have it."""
    return str(UUID(task_id))


def end(app, task_id, status, **columns):
    """End a task, and let its webhooks be delivered."""
    with app.app_context():
        queue.end(task_id, status, **columns)
    with patience():
        while True:
            with app.app_context():
                if not webhooks.owed():
                    return
            gevent.sleep(0.01)


def job(client, task_id, **query):
    """What is told of a job."""
    reply = client.get(QUERY, query_string={"job_id": task_id, **query})
    assert reply.status_code == 200, reply.text
    return reply.json


@pytest.mark.parametrize("spelt", [dashed, str, str.upper])
def test_a_job_has_an_id_with_dashes_and_is_found_by_either_spelling(client, add, spelt):
    task_id = add("pending")
    assert job(client, spelt(task_id)) == {
        "job_id": dashed(task_id),
        "job_type": "Text to Image",
        "job_stage": "WAITING",
        "job_progress": 0,
        "job_status": None,
        "job_step_preview": None,
        "job_result": None,
    }


@pytest.mark.parametrize("job_id", ["no such job", "717ec0b5-85df-4174-80d6-bddf93cd8248"])
def test_a_job_that_there_is_not_is_told_in_a_jobs_form(client, job_id):
    reply = client.get(QUERY, query_string={"job_id": job_id})
    assert reply.status_code == 404
    assert reply.json == {
        "job_id": "",
        "job_type": "Not Found",
        "job_stage": "ERROR",
        "job_progress": 0,
        "job_status": "Job not found",
        "job_step_preview": None,
        "job_result": None,
    }


def test_a_query_without_an_id_is_refused_and_there_is_no_body_to_tell_back(client):
    reply = client.get(QUERY)
    assert (reply.status_code, reply.json["body"]) == (422, None)
    assert reply.json["detail"][0]["loc"] == ["query", "job_id"]


def test_a_running_job_tells_how_far_it_is_and_shows_its_preview_where_that_is_asked_for(app, client, add):
    task_id = add("running")
    with app.app_context():
        progress = {"percent": 40, "message": "Sampling step 12/30", "preview": b"a PNG"}
        signals.send(signals.task_progressed, app, task_id=task_id, **progress)
    told = job(client, task_id)
    assert (told["job_stage"], told["job_progress"], told["job_status"]) == ("RUNNING", 40, "Sampling step 12/30")
    assert told["job_step_preview"] is None and told["job_result"] is None
    assert job(client, task_id, require_step_preview="true")["job_step_preview"] == "YSBQTkc="


def test_an_ended_job_has_its_pictures_with_their_seeds(client, add):
    task_id = add(pictures=2, progress=100)
    told = job(client, task_id)
    assert (told["job_stage"], told["job_progress"], told["job_status"]) == ("SUCCESS", 100, "Finished")
    assert [made["seed"] for made in told["job_result"]] == ["7", "8"]
    assert told["job_result"][0] == {
        "base64": None,
        "url": f"http://localhost/files/2024-07-05/{task_id}-0.png",
        "seed": "7",
        "finish_reason": "SUCCESS",
    }
    assert client.get(told["job_result"][1]["url"]).status_code == 200


def test_a_job_keeps_its_type_and_its_wish_for_base64(app, client, add):
    task_id = add(pictures=2, api=API)
    told = job(client, task_id)
    assert told["job_type"] == "Image Prompt"
    assert all(made["base64"].startswith("data:image/png;base64,iVBOR") for made in told["job_result"])
    (Path(app.config["OUTPUT_PATH"]) / "2024-07-05" / f"{task_id}-1.png").unlink()
    assert job(client, task_id)["job_result"][1]["base64"] is None


def test_a_job_that_failed_says_why_and_one_that_was_stopped_was_cancelled(client, add):
    failed = job(client, add("failed", error="the disk is full"))
    assert (failed["job_stage"], failed["job_status"], failed["job_result"]) == ("ERROR", "the disk is full", None)
    stopped = job(client, add("stop"))
    assert stopped["job_stage"] == "SUCCESS"
    assert stopped["job_result"] == [{"base64": None, "url": None, "seed": "7", "finish_reason": "USER_CANCEL"}]
    assert job(client, add("stop", pictures=1))["job_result"][0]["finish_reason"] == "SUCCESS"


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ({}, "Text to Image"),
        ({"uov_method": "Vary (Subtle)", "uov_input_image": "/inputs/x.png"}, "Image Upscale or Variation"),
        ({"inpaint_input_image": "/inputs/x.png"}, "Image Inpaint or Outpaint"),
        ({"enhance_input_image": "/inputs/x.png", "uov_input_image": "/inputs/x.png"}, "Image Enhancement"),
    ],
)
def test_a_task_of_our_own_route_is_a_job_as_its_pictures_say(app, client, add, params, kind):
    task_id = add()
    with app.app_context():
        task = queue.find(task_id)
        task.req_params = task.req_params | params
        queue.commit()
    assert job(client, task_id)["job_type"] == kind


@speaks_sql
def test_the_queue_counts_what_waits_and_runs_and_names_the_newest(client, add):
    assert client.get(QUEUE).json == {"running_size": 0, "finished_size": 0, "last_job_id": None}
    for status in ("running", "pending", "pending", "finished"):
        newest = add(status)
    assert client.get(QUEUE).json == {"running_size": 3, "finished_size": 1, "last_job_id": dashed(newest)}


def test_the_history_holds_what_clients_of_either_kind_read(client, add):
    old, new = add(hours_ago=2), add("failed", hours_ago=1, error="lost", api=API)
    waiting, running = add("pending"), add("running", start_mills=5)
    told = client.get(HISTORY).json
    assert [entry["job_id"] for entry in told["history"]] == [dashed(new), dashed(old)]
    assert [entry["job_id"] for entry in told["queue"]] == [dashed(running), dashed(waiting)]
    assert [entry["start_mills"] for entry in told["queue"]] == [5, 0]
    assert not any(entry["is_finished"] for entry in told["queue"])
    first, second = told["history"]
    assert first["is_finished"] and first["finish_mills"] == first["task_info"]["task_finish_mills"] > 0
    assert (first["task_info"]["task_type"], first["task_info"]["finish_reason"]) == ("Image Prompt", "ERROR")
    assert (second["task_info"]["task_type"], second["task_info"]["finish_reason"]) == ("Text to Image", "SUCCESS")
    assert second["params"]["aspect_ratios_selection"] == "64*64"
    assert second["params"]["advanced_params"]["overwrite_step"] == 2


@speaks_sql
def test_the_history_is_paged_and_one_job_can_be_asked_for(client, add):
    ids = [dashed(add(hours_ago=hours)) for hours in (3, 2, 1)]
    pages = [client.get(f"{HISTORY}?page={page}&page_size=2").json["history"] for page in (0, 1)]
    assert [entry["job_id"] for page in pages for entry in page] == ids[::-1]
    waiting = add("pending")
    assert [entry["job_id"] for entry in client.get(f"{HISTORY}?job_id={ids[1]}").json["history"]] == [ids[1]]
    told = client.get(f"{HISTORY}?job_id={waiting}").json
    assert ([entry["job_id"] for entry in told["queue"]], told["history"]) == ([dashed(waiting)], [])
    assert client.get(f"{HISTORY}?job_id=unknown").json == {"queue": [], "history": []}


@speaks_sql
def test_the_history_tells_a_request_in_the_predecessors_members(client):
    sent = {
        "prompt": "a cat",
        "base_model_name": "toy.safetensors",
        "image_prompts": [{"cn_img": "", "cn_type": "CPDS"}],
        "advanced_params": {"overwrite_switch": 0.5, "overwrite_step": 8},
        "loras": [{"model_name": "None"}],
        "save_extension": "webp",
        "async_process": True,
    }
    path = "/v2/generation/image-inpaint-outpaint"
    reply = client.post(path, json=sent | {"outpaint_distance_left": 8, "aspect_ratios_selection": "64*64"})
    assert reply.status_code == 200, reply.text
    with patience():
        while not (history := client.get(HISTORY).json["history"]):
            gevent.sleep(0.05)
    params = history[0]["params"]
    assert params["advanced_params"]["overwrite_switch"] == 0.5
    assert (params["outpaint_distance_left"], params["outpaint_distance_top"]) == (8, 0)
    assert (params["save_extension"], params["loras"], params["image_prompts"]) == ("webp", [], [])
    assert (params["input_image"], params["async_process"], params["image_number"]) == (None, True, 1)
    assert history[0]["task_info"]["result_url"].startswith("http://localhost/files/")


@speaks_sql
def test_a_job_is_deleted_with_its_files(app, client, add):
    task_id = add(pictures=1)
    file = Path(app.config["OUTPUT_PATH"]) / "2024-07-05" / f"{task_id}-0.png"
    assert file.exists()
    delete = f"{HISTORY}?delete=true&job_id={dashed(task_id)}"
    for words in ("Deleted", "Not found"):
        reply = client.get(delete)
        assert (reply.status_code, reply.json) == (200, {"message": words})
    assert not file.exists()


def test_a_job_that_has_not_ended_is_not_deleted_and_a_deletion_names_a_job(client, add):
    task_id = add("pending")
    reply = client.get(f"{HISTORY}?delete=true&job_id={task_id}")
    assert reply.status_code == 409 and "stop it first" in reply.json["detail"]
    assert client.get(f"{HISTORY}?delete=true").json["detail"][0]["loc"] == ["query", "job_id"]
    assert job(client, task_id)["job_stage"] == "WAITING"


@speaks_sql
def test_stop_ends_the_running_job_only_and_says_success_in_any_case(client, add, app):
    assert client.post("/v1/generation/stop").json == {"msg": "success"}
    waiting, running = add("pending"), add("running")
    assert client.post("/v1/generation/stop").json == {"msg": "success"}
    with app.app_context():
        assert queue.find(running).stop_asked and not queue.find(waiting).stop_asked
        assert queue.find(waiting).task_status == "pending"


@speaks_sql
def test_a_key_sees_its_own_jobs_and_deletes_none(app, client):
    with app.app_context():
        queue.pause()
        mine, others = ({"X-API-KEY": keys.add(name, ["draw"])} for name in ("mine", "others"))
    sent = {"async_process": True, "base_model_name": "toy.safetensors"}
    job_id = client.post(TEXT, json=sent, headers=mine).json["job_id"]
    assert client.get(f"{QUERY}?job_id={job_id}", headers=mine).status_code == 200
    assert client.get(f"{QUERY}?job_id={job_id}", headers=others).status_code == 403
    assert client.get(f"{HISTORY}?job_id={job_id}&delete=true", headers=mine).status_code == 403


def test_the_webhook_of_a_job_has_the_predecessors_body_signed_and_tried_again_as_ours_are(app, add, receiver):
    receiver.answers = [500, 200]
    result = ["2024-07-05/a-0.png", "2024-07-05/a-1.png"]
    task_id = add("running", webhook_url=receiver.url, api=API, result=result)
    end(app, task_id, "finished")
    made = [{"url": f"http://h/files/2024-07-05/a-{n}.png", "seed": str(7 + n)} for n in range(2)]
    for _ in range(2):
        _, headers, body = receiver.take()
        assert headers["webhook-signature"] and headers["X-Webhook-Event"] == "ended"
        assert body == {"job_id": dashed(task_id), "job_result": made}


def test_the_webhook_of_a_job_that_failed_has_no_pictures_and_that_of_our_own_tasks_is_as_it_was(app, add, receiver):
    failed, ours = add("running", webhook_url=receiver.url, api=API), add("running", webhook_url=receiver.url)
    end(app, failed, "failed", error="lost")
    assert receiver.take()[2] == {"job_id": dashed(failed), "job_result": []}
    end(app, ours, "finished")
    assert json.loads(receiver.take()[2])["task_id"] == ours


def test_models_are_listed_anew(client):
    assert client.post("/v1/engines/refresh-models").json == client.get("/v1/engines/all-models").json
    assert "toy.safetensors" in client.post("/v1/engines/refresh-models").json["model_filenames"]


def test_the_history_tells_no_webhook_of_the_operators(app, client, add):
    """Earlier versions wrote it into the parameters of each task."""
    url = "https://receiver.example/hook?token=secret"
    task_id = add(webhook_url=url, params={"webhook_url": url})
    app.config["WEBHOOK_URL"] = url
    assert client.get(HISTORY).json["history"][0]["params"]["webhook_url"] == ""
    assert "secret" not in client.get(f"{HISTORY}?job_id={task_id}").text
