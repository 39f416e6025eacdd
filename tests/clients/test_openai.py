"""The clients of OpenAI's Images API that people use, against a server with keys."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.engine.picture_models import picture_models
from tests.serving import Server
from tests.toy import narrow_checkpoint, toy_checkpoint

KEY = "secret"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory, database, clients_python):
    """A server with a key, a toy checkpoint, one for edits, and one that lacks nearly all of its weights."""
    folder = tmp_path_factory.mktemp("keyed")
    checkpoints = picture_models(folder / "models", narrow_checkpoint) / "checkpoints"
    toy_checkpoint(checkpoints / "toy.safetensors")
    names = {
        "model.diffusion_model.label_emb.0.0.weight": (1, 1),
        "first_stage_model.decoder.conv_in.weight": (1, 4),
    }
    save_file({name: np.zeros(shape, np.float16) for name, shape in names.items()}, checkpoints / "hollow.safetensors")
    server = Server(folder / "instance", folder / "models", FOOOCUS_API_KEY=KEY).ready()
    yield server
    server.stop()


def test_the_openai_package_draws_edits_streams_and_reads_errors(keyed, run_client):
    found = run_client("openai_sync", keyed, KEY)
    drawn = found["generated"]
    assert (drawn["size"], drawn["quality"], drawn["input_tokens"]) == ("64x64", "high", 2)
    assert len(set(drawn["pictures"])) == 2 and drawn["id"]
    assert {"x-task-id", "x-seed", "x-request-id"} <= set(map(str.lower, found["raw"]))
    *partial, last = found["streamed"]
    assert {kind for kind, *_ in partial} == {"image_generation.partial_image"}
    assert last[0] == "image_generation.completed"
    streams = ["image_edit.completed"]
    assert found["edited"] == {"one": True, "many": True, "mask": True, "stream": streams}
    assert found["varied"] == 1
    assert "toy.safetensors" in found["listed"]["names"] and found["listed"]["one"] == "fooocus-flask"
    assert found["bad_size"] == ["BadRequestError", 400, "invalid_value", "size"]
    assert found["bad_model"] == ["NotFoundError", 404, "model_not_found", "model"]
    assert found["transparent"] == ["BadRequestError", 400, "unsupported_value", "background"]
    assert found["unknown_key"] == ["AuthenticationError", "invalid_api_key"]


def test_the_openai_packages_other_client_draws_and_streams(keyed, run_client):
    found = run_client("openai_async", keyed, KEY)
    assert found["same"]
    assert found["events"].count("image_generation.completed") == 2


def test_a_task_that_fails_is_drawn_once_whatever_the_client_does_by_itself(keyed, run_client):
    found = run_client("openai_retries", keyed, KEY)
    assert found["answer"][:2] == ["InternalServerError", "task_failed"]
    assert found["stream"][0] == "APIError" and "hollow.safetensors" in found["stream"][2]
    history = keyed.get("/tasks?query=history&prompt=fails", X_API_KEY=KEY).json["history"]
    prompts = sorted(task["req_params"]["prompt"] for task in history)
    assert prompts == ["fails at once", "fails in a stream"]
    assert {task["task_status"] for task in history} == {"failed"}


def test_litellm_draws_and_edits(keyed, run_client):
    found = run_client("litellm_images", keyed, KEY)
    assert found == {"drawn": [True, True], "edited": [True], "tokens": 2}
