"""An ended task once more: the same picture, or a refusal that says what is gone."""

import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from fooocus_flask.access import keys
from fooocus_flask.database import db
from fooocus_flask.tasks import queue
from tests.serving import GENERATE, small

pytestmark = pytest.mark.sql("submission/retry")


def retry(client, task_id, **headers):
    """The answer to a retry."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(f"/tasks/{task_id}/retry", headers=headers)


def red():
    """A small picture in base64."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def pixels(server, url):
    """A result's pixels: its metadata hold the notes, which differ."""
    return Image.open(io.BytesIO(server.get("/" + url.split("/", 3)[3]).body)).tobytes()


@pytest.fixture
def change(app):
    """Changes an ended task's row: `change(task_id, checkpoint=None)`; members of `params` too."""

    def set_columns(task_id, params=(), **columns):
        with app.app_context():
            task = queue.find(task_id)
            task.req_params = task.req_params | dict(params)
            for name, value in columns.items():
                setattr(task, name, value)
            db.session.commit()

    return set_columns


def test_a_retried_task_gives_the_same_picture(server):
    first = server.draw({"image_seed": -1, "image_number": 2, "uov_input_image": red(), "uov_method": "Vary (Subtle)"})
    reply = server.ask("POST", f"/tasks/{first.json['task_id']}/retry")
    assert (reply.status, reply.json["task_status"], reply.json["seed"]) == (200, "pending", first.json["seed"])
    again = server.ended(reply.json["task_id"])
    assert again["notes"][0] == f"The task {first.json['task_id']} once more"
    assert again["req_params"] == first.json["req_params"]
    pictures = [[pixels(server, url) for url in told["result"]] for told in (first.json, again)]
    assert len(pictures[0]) == 2 and pictures[0] == pictures[1]


@pytest.mark.parametrize("status", ["finished", "failed", "stop"])
def test_a_task_that_has_ended_may_be_retried(client, add, status):
    old = add(status, priority=3, params={"prompt": "a dog"})
    told = retry(client, old).json
    assert (told["task_status"], told["priority"], told["req_params"]["prompt"]) == ("pending", 3, "a dog")
    assert told["task_id"] != old and client.get(f"/tasks/{told['task_id']}").json["notes"] == [
        f"The task {old} once more"
    ]


@pytest.mark.parametrize("status", ["pending", "running"])
def test_one_that_has_not_is_refused(client, add, status):
    reply = retry(client, add(status))
    assert reply.status_code == 409 and status in reply.json["detail"] and "once it has ended" in reply.json["detail"]


def test_an_unknown_task_is_not_found(client):
    assert retry(client, "none").status_code == 404


def test_a_picture_that_is_gone_is_named(app, client, add):
    control = [{"cn_img": red(), "cn_type": "PyraCanny"}] * 2
    sent = small(async_process=True, controlnet_image=control, base_model_name="fooocus_mini.safetensors")
    task_id = client.post(GENERATE, json=sent).json["task_id"]
    client.post(f"/tasks/{task_id}/cancel")
    assert retry(client, task_id).status_code == 200
    for path in Path(app.config["INPUT_PATH"]).glob("*.png"):
        path.unlink()
    reply = retry(client, task_id)
    assert reply.status_code == 422
    assert [fault["loc"] for fault in reply.json["detail"]] == [
        ["body", "controlnet_image", number, "cn_img"] for number in (0, 1)
    ]
    assert "no longer on this server" in reply.json["detail"][0]["msg"]


GONE = {
    "base_model_name": "gone.safetensors",
    "vae_name": "gone.safetensors",
    "preset": "gone",
    "style_selections": ["gone"],
    "loras": [{"enabled": True, "model_name": "gone.safetensors", "weight": 1.0}],
}


@pytest.mark.parametrize("member", GONE)
def test_what_else_is_gone_is_named(client, add, change, member):
    task_id = add("finished")
    change(task_id, params={member: GONE[member]})
    reply = retry(client, task_id)
    assert reply.status_code == 422
    assert {fault["loc"][1] for fault in reply.json["detail"]} == {member}
    assert "gone" in json.dumps(reply.json["detail"])


def test_the_built_in_model_stands_in_for_no_checkpoint_that_is_gone(make_app, tmp_path):
    app = make_app(MODELS_PATH=str(tmp_path / "models"))
    client = app.test_client()
    sent = small(async_process=True, base_model_name="juggernautXL_v8Rundiffusion.safetensors")
    task_id = client.post(GENERATE, json=sent).json["task_id"]
    client.post(f"/tasks/{task_id}/cancel")
    assert retry(client, task_id).json["req_params"]["base_model_name"] == "fooocus_mini.safetensors"
    with app.app_context():
        queue.find(task_id).checkpoint = str(tmp_path / "models" / "checkpoints" / sent["base_model_name"])
        db.session.commit()
    reply = retry(client, task_id)
    assert reply.status_code == 422 and reply.json["detail"][0]["loc"] == ["body", "base_model_name"]


def test_what_is_newer_than_the_task_has_its_default(app, client, add):
    task_id = add("finished", params={"sharpness": 3.0})
    with app.app_context():
        task = queue.find(task_id)
        task.req_params = {name: value for name, value in task.req_params.items() if name != "freeu_b1"}
        db.session.commit()
    params = retry(client, task_id).json["req_params"]
    assert (params["freeu_b1"], params["sharpness"]) == (1.01, 3.0)


def test_the_same_retry_twice_is_one_task(client, add):
    old, other = add("finished"), add("finished")
    first, second = (retry(client, old, Idempotency_Key="once") for _ in range(2))
    assert first.json["task_id"] == second.json["task_id"]
    assert [reply.headers.get("Idempotency-Replayed") for reply in (first, second)] == [None, "true"]
    assert retry(client, other, Idempotency_Key="once").status_code == 422


def test_it_needs_draw_and_a_look_at_the_task(app, client, add):
    with app.app_context():
        secrets = {scopes: keys.add("-".join(scopes), scopes) for scopes in (("read",), ("draw",), ("read", "draw"))}
    others, own = add("finished", key_name="another"), add("finished", key_name="draw")
    statuses = {
        scopes: [retry(client, task_id, X_API_KEY=secret).status_code for task_id in (others, own)]
        for scopes, secret in secrets.items()
    }
    assert statuses == {("read",): [403, 403], ("draw",): [403, 200], ("read", "draw"): [200, 200]}
    told = retry(client, others, X_API_KEY=secrets["read", "draw"]).json
    assert told["key_name"] == "read-draw"


@pytest.mark.parametrize("params", [{"uov_method": "Upscale (2x)"}, {"outpaint_selections": ["Left"]}])
def test_what_was_taken_before_is_taken_again(client, add, change, params):
    task = add()
    change(task, params)
    assert retry(client, task).status_code == 200


def test_a_picture_that_was_not_used_is_no_reason_to_refuse(client):
    sent = small(async_process=True, uov_input_image=red(), uov_method="Disabled")
    task_id = client.post(GENERATE, json=sent).json["task_id"]
    client.post(f"/tasks/{task_id}/cancel")
    assert retry(client, task_id).status_code == 200
