"""Model files that only machines of a fleet have."""

from pathlib import Path

import pytest

from engine.files.downloads import DownloadError
from engine.files.known_files import KnownFile
from engine.interruption import Stopped
from fooocus_flask.model_files.addresses import sources_for
from fooocus_flask.model_files.fleet_files import comes_from_fleet, fleet_files
from fooocus_flask.model_files.folders import model_catalogue
from fooocus_flask.model_files.transfers import transfers

OWN = {"checkpoints": {"own.safetensors": 7}, "loras": {"Zoom.safetensors": 5, "add.safetensors": 3}}


@pytest.fixture
def fleet(app):
    """What the cards of a fleet told."""
    found = fleet_files.of(app)
    found.tell("far-0", OWN)
    found.tell("far-1", {"checkpoints": {"own.safetensors": 8}})
    return found


def test_they_are_listed_after_this_server_s_own_and_found_nowhere_here(app, client):
    def listed():
        return client.get("/v1/engines/all-models").json

    before, fleet = listed(), fleet_files.of(app)
    fleet.tell("far-0", OWN)
    assert listed()["lora_filenames"] == [*before["lora_filenames"], "add.safetensors", "Zoom.safetensors"]
    assert {*listed()["model_filenames"]} == {*before["model_filenames"], "own.safetensors"}
    assert model_catalogue(app).find("checkpoints", "own.safetensors") is None
    fleet.forget("far-0")
    assert listed() == before


def test_they_are_fetched_from_the_fleet_whether_or_not_downloads_are_allowed(app, fleet):
    with app.app_context():
        sources = sources_for()
        file = sources.find("checkpoints", "own.safetensors")
        assert comes_from_fleet(file) and sources.allows(file) and not sources.allowed
        assert "far" not in file.url
        assert sources.lora("Zoom", but=None).name == "Zoom.safetensors"
        elsewhere = KnownFile("loras", "other.safetensors", "https://example.org/other.safetensors")
        assert not sources.allows(elsewhere)


def test_a_card_that_has_another_file_of_that_name_does_not_give_it(fleet):
    assert fleet.cards(KnownFile("checkpoints", "own.safetensors", "fleet:checkpoints/own.safetensors", 8)) == ["far-1"]


def test_what_is_known_is_gathered_again_only_after_a_card_told_something_else(fleet):
    known, names = fleet.known(), fleet.names()
    fleet.tell("far-0", {kind: dict(files) for kind, files in OWN.items()})
    fleet.forget("far-2")
    assert fleet.known() is known and fleet.names() is names
    fleet.tell("far-1", {"vae": {"b.safetensors": 1, "A.safetensors": 1}})
    assert fleet.known()["checkpoints", "own.safetensors"].size == 7
    assert fleet.names()["vae"] == ["A.safetensors", "b.safetensors"]
    fleet.forget("far-1")
    assert "vae" not in fleet.names()


def test_one_comes_once_a_machine_has_it_and_ends_once(app, fleet):
    asked, ended = [], []
    file = KnownFile("loras", "add.safetensors", "fleet:loras/add.safetensors", 3)
    transfers.of(app).begin(file, Path("/models/add.safetensors"), lambda: ended.append(True))
    assert len(transfers.of(app)) == 0  # nobody is there to fetch it
    fleet.fetch = asked.append
    fleet.forget("far-0")
    transfers.of(app).begin(file, Path("/models/add.safetensors"), lambda: ended.append(True))
    assert asked == []
    fleet.tell("far-0", OWN)
    transfers.of(app).begin(file, Path("/models/add.safetensors"), lambda: ended.append(True))
    (transfer,) = asked
    transfer.hear(2)
    assert transfers.of(app).serialise(file)["bytes_done"] == 2
    assert transfer.sentence() == "Copying add.safetensors, 66 % of 3 bytes"
    transfer.end(DownloadError("it broke"))
    transfer.stop()
    assert str(transfer.outcome) == "it broke" and not isinstance(transfer.outcome, Stopped)
