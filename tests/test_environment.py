"""Settings that the environment decides: the switches among them in the spellings people use."""

import pytest
from flask import Flask

from fooocus_flask import settings
from fooocus_flask.environment import NUMBERS, SWITCHES, SettingError, read
from tests.patience import CEILING
from tests.server.test_launcher import started


def configured():
    """The settings of an application under this environment, without the application."""
    app = Flask(__name__)
    app.config.from_object(settings)
    read(app)
    return app.config


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize(
    ("spellings", "meant"),
    [
        (("1", "true", "True", "TRUE", "yes", "ON", " on "), True),
        (("0", "false", "False", "FALSE", "No", "off"), False),
    ],
)
def test_a_switch_takes_the_usual_words_in_any_case(monkeypatch, name, spellings, meant):
    for text in spellings:
        monkeypatch.setenv(f"FOOOCUS_{name}", text)
        assert configured()[name] is meant


def test_an_empty_switch_decides_nothing(make_app, monkeypatch, tmp_path):
    (tmp_path / "instance").mkdir()
    (tmp_path / "instance" / "config.py").write_text("ALLOW_DOWNLOADS = True\n")
    monkeypatch.setenv("FOOOCUS_ALLOW_DOWNLOADS", "")
    assert make_app().config["ALLOW_DOWNLOADS"] is True
    monkeypatch.setenv("FOOOCUS_ALLOW_DOWNLOADS", "False")
    assert make_app().config["ALLOW_DOWNLOADS"] is False


@pytest.mark.parametrize("text", ["flase", "2", "null", "[true]", "t"])
def test_another_word_is_told_with_those_that_work(monkeypatch, text):
    monkeypatch.setenv("FOOOCUS_DISABLE_METADATA", text)
    with pytest.raises(SettingError) as caught:
        configured()
    told = str(caught.value)
    assert told.startswith(f"FOOOCUS_DISABLE_METADATA is {text!r}")
    assert all(word in told for word in ("1, true, yes, on", "0, false, no, off"))


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_told_where_one_belongs(monkeypatch, name):
    for text in ("many", "true", "[1]", "inf", *(["1.5"] if NUMBERS[name] is int else [])):
        monkeypatch.setenv(f"FOOOCUS_{name}", text)
        with pytest.raises(SettingError, match=rf"^FOOOCUS_{name} is .*; give a "):
            configured()
    monkeypatch.setenv(f"FOOOCUS_{name}", "")
    assert configured()[name] == getattr(settings, name)


def test_a_number_has_its_effect(make_app, monkeypatch):
    monkeypatch.setenv("FOOOCUS_PRIORITY_SECONDS", " 2.5 ")
    monkeypatch.setenv("FOOOCUS_MAX_CONTENT_LENGTH", "1000")
    config = make_app().config
    assert (config["PRIORITY_SECONDS"], config["MAX_CONTENT_LENGTH"]) == (2.5, 1000)


def test_a_choice_that_is_none_is_told_with_those_that_work(monkeypatch):
    monkeypatch.setenv("FOOOCUS_DEVICE", "mps")
    assert configured()["DEVICE"] == "mps"
    monkeypatch.setenv("FOOOCUS_DEVICE", "gpu")
    with pytest.raises(SettingError, match=r"^DEVICE is 'gpu'; give cuda, cuda:1, xpu, mps or cpu, or nothing$"):
        configured()
    monkeypatch.setenv("FOOOCUS_DEVICE", "cuda:1")
    monkeypatch.setenv("FOOOCUS_ENGINES", "2")
    with pytest.raises(SettingError, match=r"^DEVICE is 'cuda:1', one card, and ENGINES asks for several; give cuda"):
        configured()
    monkeypatch.delenv("FOOOCUS_DEVICE")
    monkeypatch.setenv("FOOOCUS_MEMORY_PLAN", "streamed")
    assert configured()["MEMORY_PLAN"] == "streamed"
    monkeypatch.setenv("FOOOCUS_MEMORY_PLAN", "tiny")
    with pytest.raises(
        SettingError, match=r"^MEMORY_PLAN is 'tiny'; give auto, resident, turns, alone, streamed, or nothing$"
    ):
        configured()


@pytest.mark.parametrize("value", ["abc", None, -1, 0.5, True])
def test_a_count_that_is_none_is_told_wherever_it_comes_from(value):
    app = Flask(__name__)
    app.config.from_object(settings)
    app.config["MAX_PIXELS"] = value  # as instance/config.py puts it there
    with pytest.raises(SettingError, match=r"^MAX_PIXELS is .*; give a whole number, such as 67108864, or 0"):
        read(app)


@pytest.mark.parametrize(("text", "meant"), [("auto", "auto"), ("2", "2"), ("64", "64"), ("", "1")])
def test_the_number_of_engines_is_one_or_auto(monkeypatch, text, meant):
    monkeypatch.setenv("FOOOCUS_ENGINES", text)
    assert configured()["ENGINES"] == meant


@pytest.mark.parametrize("text", ["0", "-1", "65", "1.5", "many", "²", "1" * 30])
def test_another_number_of_engines_is_told(monkeypatch, text):
    monkeypatch.setenv("FOOOCUS_ENGINES", text)
    with pytest.raises(SettingError, match=r"^ENGINES is .*; give a whole number from 1 to 64, or auto"):
        configured()


def test_every_switch_of_the_settings_is_one():
    assert {"ALLOW_DOWNLOADS", "ALLOW_PRIVATE_ADDRESSES", "DISABLE_IMAGE_LOG", "DISABLE_METADATA"} <= set(SWITCHES)
    assert not {"ENGINE_THREADS", "REBUILD_HASH_CACHE", "API_KEY"} & set(SWITCHES)


def test_other_settings_are_read_as_before(make_app, monkeypatch):
    for name, text in (("QUEUE_LIMIT", "7"), ("API_KEY", "False"), ("DOWNLOAD_DELAYS", "[1, 2]")):
        monkeypatch.setenv(f"FOOOCUS_{name}", text)
    config = make_app().config
    assert (config["QUEUE_LIMIT"], config["API_KEY"], config["DOWNLOAD_DELAYS"]) == (7, "False", [1, 2])


@pytest.mark.slow
def test_a_server_does_not_start_with_such_a_word(tmp_path):
    with started(tmp_path, FOOOCUS_ALLOW_DOWNLOADS="maybe") as server:
        _, told = server.communicate(timeout=CEILING)
    assert (server.returncode, told.count("\n")) == (2, 1)
    assert told.startswith("wsgi.py: FOOOCUS_ALLOW_DOWNLOADS is 'maybe'")
