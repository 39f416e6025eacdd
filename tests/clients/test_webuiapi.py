"""The `webuiapi` package against AUTOMATIC1111's routes of a real server."""

import json

import pytest

KEY = "secret"


@pytest.fixture
def server_with_key(make_server, tmp_path):
    """A server that asks for a key, and draws in one step what names none: enlarging names none."""
    (tmp_path / "instance").mkdir()
    (tmp_path / "instance" / "config.txt").write_text(json.dumps({"default_overwrite_step": 1}))
    return make_server(FOOOCUS_API_KEY=KEY).ready()


def test_the_python_client_draws_switches_and_interrupts(server_with_key, run_client):
    found = run_client("webuiapi_sdapi", server_with_key, key=KEY)
    assert {"toy.safetensors", "fooocus_mini.safetensors"} <= {name.split(" ")[0] for name in found["models"]}
    assert found["model"].startswith("toy.safetensors") and "DPM++ 3M SDE" in found["samplers"]
    assert (found["sizes"], found["seeds"]) == ([[64, 64]] * 2, [7, 8])
    assert found["infotext"] == found["png_info"]
    assert "Sampler: Euler a" in found["infotext"]
    assert found["options"]["sd_model_checkpoint"].startswith("toy.safetensors") and found["clip_skip"] == 3
    assert (found["inpainted"], found["kept"]) == ([96, 96], [0, 128, 0])
    assert found["enlarged"] == [1024, 1024] and found["caption"]
    assert 0 < found["progress"]["progress"] < 1 and found["progress"]["state"]["sampling_steps"] == 200
    assert found["left"] == 0
    assert found["interrupted"] == found["skipped"] == {} and found["idle"] == 0
    assert found["refused"] == 422
