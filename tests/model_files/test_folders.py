"""Where models lie: the installation's own folders, or those an existing Fooocus names."""

import json
import logging
from pathlib import Path

import pytest

from engine.files.catalogue import MODEL_FOLDERS
from fooocus_flask.model_files.config_txt import ConfigError
from fooocus_flask.model_files.folders import KEYS, folders
from fooocus_flask.server import launcher

DATA = Path(__file__).parent / "data" / "config"


@pytest.fixture
def places(make_app, tmp_path):
    """The folders of an application beside whose state this `config.txt` lies."""

    def settle(config=None):
        if config is not None:
            (tmp_path / "instance").mkdir(exist_ok=True)
            text = config if isinstance(config, str) else json.dumps(config)
            (tmp_path / "instance" / "config.txt").write_text(text)
        return folders.of(make_app())

    return settle


def test_without_a_word_they_lie_below_the_models_folder(places, models, tmp_path):
    found = places()
    assert found["loras"] == (models / "loras",)
    assert found["wildcards"] == (tmp_path / "instance" / "wildcards",)


def test_every_kind_of_model_folder_has_its_key():
    assert set(MODEL_FOLDERS) <= set(KEYS)


def test_a_config_txt_names_one_or_several(places, tmp_path):
    for name in ("one", "two", "instance/near"):
        (tmp_path / name).mkdir(parents=True)
    several = [str(tmp_path / "one"), str(tmp_path / "two")]
    found = places({"path_checkpoints": several, "path_vae": "near", "default_model": "x.safetensors"})
    assert found["checkpoints"] == (tmp_path / "one", tmp_path / "two")
    assert found["vae"] == (tmp_path / "instance" / "near",)


def test_the_environment_goes_before_the_file(places, tmp_path, monkeypatch):
    for name in ("file", "environment"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("path_loras", str(tmp_path / "environment"))
    assert places({"path_loras": str(tmp_path / "file")})["loras"] == (tmp_path / "environment",)


def test_the_environment_may_name_several(places, tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("path_loras", repr([str(tmp_path / "one"), str(tmp_path / "two")]))
    assert places()["loras"] == (tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("value", [5, {"a": "b"}, ["/", 5]])
def test_what_is_no_folder_is_told_and_the_usual_one_taken(places, models, caplog, value):
    assert places({"path_loras": value})["loras"] == (models / "loras",)
    assert "path_loras is" in caplog.text


def test_folders_that_another_setting_decides_are_told_with_it(places, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "fooocus_flask"):
        places((DATA / "path_outputs.txt").read_text())
    assert "path_outputs is '/tmp/turn2-outputs' and is not used: results lie in" in caplog.text
    assert "OUTPUT_PATH" in caplog.text and "--output-path" in caplog.text


@pytest.mark.parametrize(("key", "told"), [("temp_path", True), ("path_outputs", False)])
def test_a_folder_of_results_that_is_the_settings_own_needs_no_word(places, tmp_path, caplog, key, told):
    folder = "/elsewhere" if told else str(tmp_path / "instance" / "outputs")
    with caplog.at_level(logging.WARNING, "fooocus_flask"):
        places({key: folder})
    assert (f"{key} is" in caplog.text) is told


def test_the_environment_may_name_the_file(places, tmp_path, monkeypatch):
    (tmp_path / "fooocus" / "loras").mkdir(parents=True)
    (tmp_path / "fooocus" / "config.txt").write_text('{"path_loras": "loras"}')
    monkeypatch.setenv("config_path", str(tmp_path / "fooocus" / "config.txt"))
    assert places({"path_loras": "/"})["loras"] == (tmp_path / "fooocus" / "loras",)


def test_a_folder_that_is_not_there_is_told_and_the_usual_one_taken(places, models, caplog):
    with caplog.at_level(logging.WARNING, "fooocus_flask"):
        assert places({"path_loras": "/nowhere/loras"})["loras"] == (models / "loras",)
    assert "path_loras names the folder /nowhere/loras, which is not there" in caplog.text


@pytest.mark.parametrize(("text", "told"), [('{"path_loras": "C:\\models"}', "no JSON"), ("[]", "JSON object")])
def test_a_file_that_is_none_stops_the_start_with_a_reason(places, text, told):
    with pytest.raises(ConfigError, match=told):
        places(text)


def test_the_command_line_tells_the_reason(tmp_path, capsys):
    (tmp_path / "config.txt").write_text("nothing")
    with pytest.raises(SystemExit):
        launcher.main(["--instance", str(tmp_path), "--port", "0"])
    assert "config.txt is no JSON" in capsys.readouterr().err
