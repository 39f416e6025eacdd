"""Real clients of Fooocus-API, the predecessor: the generated Python client, and the MCP server on PyPI."""

import base64
import hashlib
import json
from uuid import UUID

import pytest

from tests.serving import Server

KEY = "secret"
MINI = "fooocus_mini.safetensors"


@pytest.fixture(scope="module")
def locked(tmp_path_factory, models, database):
    """A server that asks for a key, and draws in one step what names none, such as a form by the Python client."""
    instance = tmp_path_factory.mktemp("locked")
    (instance / "config.txt").write_text(json.dumps({"default_overwrite_step": 1}))
    server = Server(instance, models, FOOOCUS_API_KEY=KEY).ready()
    yield server
    server.stop()


def test_the_python_client_draws_follows_and_lists(locked, run_client):
    told = run_client("fooocus_api_client", locked, key=KEY, MODEL=MINI)
    ours = locked.draw({"base_model_name": MINI}, X_API_KEY=KEY).json
    assert told["picture"] == hashlib.sha256(locked.get(path(ours["result"][0])).body).hexdigest()
    (made,) = told["made"]
    assert (made["seed"], made["finish_reason"], made["base64"]) == ("7", "SUCCESS", None)
    job_id = told["started"]["job_id"]
    assert told["started"]["job_stage"] == "WAITING" and str(UUID(job_id)) == job_id
    assert told["job"] == [job_id, "Text to Image", "SUCCESS", 100]
    assert told["stages"][-1] == "SUCCESS"
    job = locked.get(f"/v1/generation/query-job?job_id={job_id}", X_API_KEY=KEY).json
    picture = base64.b64decode(job["job_result"][0]["base64"].removeprefix("data:image/png;base64,"))
    assert hashlib.sha256(picture).hexdigest() == told["picture"]
    assert told["form"][0]["finish_reason"] == "SUCCESS"
    assert told["queue"]["running_size"] == 0 and told["queue"]["finished_size"] == len(told["history"]) == 3
    assert told["history"][0] == told["queue"]["last_job_id"]
    assert "toy.safetensors" in told["models"] == told["refreshed"]
    assert told["described"]["describe"] and told["styles"] > 200
    assert (told["stop"], told["ping"]) == ("success", "pong")


def test_the_mcp_server_draws_on_a_server_that_has_no_model_but_its_own(make_server, tmp_path, run_client):
    (tmp_path / "none").mkdir()
    server = make_server(FOOOCUS_MODELS_PATH=str(tmp_path / "none"))
    told = run_client("mcp_fooocus", server)
    assert told["tools"][0] == "generate_image"
    assert told["drawn"]["success"] is True, told["drawn"]
    (made,) = told["drawn"]["result"]
    assert made["finish_reason"] == "SUCCESS" and server.get(path(made["url"])).status == 200


def path(url):
    """The URL below its host."""
    return "/" + url.split("/", 3)[3]
