"""Model files from a real server: whole, broken and taken up, changed, refused."""

import hashlib
import random
import re
import shutil
from dataclasses import replace

import pytest

from engine.files import downloads
from engine.files.downloads import DownloadError, NoSpace, Unreachable, amount, download, sentence, shown
from engine.files.known_files import KnownFile, by_name, mirrored
from engine.interruption import Interruption, Stopped
from tests.file_server import closed_port, serving

NO_DELAYS = (0.0, 0.0, 0.0)
BODY = random.Random(1).randbytes(3 * downloads.CHUNK + 12345)


@pytest.fixture
def server():
    """A server of one file on a real port."""
    with serving(BODY) as server:
        yield server


@pytest.fixture
def target(tmp_path):
    """Where the file goes: a folder that is not there yet."""
    return tmp_path / "new" / "model.safetensors"


def known(server, **facts):
    """The served file as a table would have it."""
    return KnownFile("checkpoints", "model.safetensors", server.url, **facts)


def fetch(file, target, tell=lambda *_: None, interruption=None):
    """Download without waiting between tries."""
    download(file, target, tell, interruption or Interruption(), NO_DELAYS)


def is_whole(target, body=BODY):
    """Whether the file, and nothing else, is there."""
    return target.read_bytes() == body and [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_file_is_fetched_and_told_of(server, target):
    told = []
    fetch(known(server, size=len(BODY), md5=hashlib.md5(BODY).hexdigest()), target, lambda *news: told.append(news))
    assert is_whole(target)
    assert told[0] == (0, len(BODY)) and told[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in told] == sorted(done for done, _ in told) and len(told) > 40


def test_a_broken_connection_is_taken_up_where_it_broke(server, target):
    server.breaks = 1
    fetch(known(server), target)
    assert is_whole(target)
    assert server.asked[0] is None and re.fullmatch(r"bytes=\d{6,}-", server.asked[1])


def test_a_later_call_takes_up_what_an_earlier_one_left(server, target):
    server.breaks = 100
    with pytest.raises(DownloadError, match="cannot be fetched"):
        fetch(known(server), target)
    assert not target.exists()
    server.breaks, server.asked = 0, []
    fetch(known(server), target)
    assert is_whole(target)
    assert len(server.asked) == 1 and server.asked[0].startswith("bytes=")


@pytest.mark.parametrize("facts", [{"ranges": False}, {"etag": ""}])
def test_a_server_that_cannot_go_on_sends_it_all_again(server, target, facts):
    vars(server).update(facts)
    server.breaks = 1
    fetch(known(server), target)
    assert is_whole(target) and len(server.asked) == 2


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, target):
    server.breaks = 100
    with pytest.raises(DownloadError):
        fetch(known(server), target)
    server.breaks, server.etag, server.body = 0, '"two"', BODY[::-1]
    fetch(known(server), target)
    assert is_whole(target, BODY[::-1])


def test_a_part_that_is_whole_is_not_fetched_again(server, target):
    server.breaks = 100
    with pytest.raises(DownloadError):
        fetch(known(server), target)
    target.with_name("model.safetensors.part").write_bytes(BODY)
    server.asked = []
    fetch(known(server), target)
    assert is_whole(target) and server.asked == []


def test_trouble_of_the_server_is_waited_for(server, target):
    server.statuses = [503, 429, 500]
    fetch(known(server), target)
    assert is_whole(target)


def test_a_host_that_never_answers_is_given_up_before_its_tries_are_over(server, target):
    file = replace(known(server), url=f"http://127.0.0.1:{closed_port()}/model.safetensors")
    with pytest.raises(Unreachable, match="no connection could be made") as caught:
        download(file, target, lambda *_: None, Interruption(), (0.0, 0.0, 10_000.0))
    assert "kept" not in str(caught.value)


def test_a_host_that_answers_gets_all_its_tries(server, target):
    server.statuses = [500] * 10
    with pytest.raises(DownloadError, match="500") as caught:
        fetch(known(server), target)
    assert len(server.asked) == 1 + len(NO_DELAYS) and not isinstance(caught.value, Unreachable)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_told_at_once_with_what_would_work(server, target, status):
    server.statuses = [status] * 2
    with pytest.raises(DownloadError, match=f"{status}.*by hand"):
        fetch(known(server), target)
    assert len(server.asked) == 1 and not target.exists()


def test_a_wrong_checksum_leaves_nothing(server, target):
    with pytest.raises(DownloadError, match="md5"):
        fetch(known(server, md5="0" * 32), target)
    assert list(target.parent.iterdir()) == []


def test_a_wrong_size_leaves_nothing(server, target):
    with pytest.raises(DownloadError, match="should have 7"):
        fetch(known(server, size=7), target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("right", [True, False])
def test_the_hubs_own_checksum_counts(server, target, right):
    server.linked = f'"{hashlib.sha256(BODY if right else b"").hexdigest()}"'
    file = KnownFile("checkpoints", "model.safetensors", server.url.replace("model.safetensors", "moved"))
    if right:
        fetch(file, target)
        assert is_whole(target)
    else:
        with pytest.raises(DownloadError, match="sha256"):
            fetch(file, target)
        assert not target.exists()


def test_a_stop_ends_it_and_keeps_the_part(server, target):
    interruption = Interruption()
    with pytest.raises(Stopped):
        fetch(known(server), target, lambda done, size: done > size / 5 and interruption.stop(), interruption)
    assert not target.exists()
    kept = target.with_name("model.safetensors.part").stat().st_size
    assert 0 < kept < len(BODY)
    fetch(known(server), target)
    assert is_whole(target) and server.asked[-1] == f"bytes={kept}-"


def test_no_server_is_told(target):
    file = KnownFile("checkpoints", "model.safetensors", "http://127.0.0.1:1/model.safetensors")
    with pytest.raises(DownloadError, match="cannot be fetched from http://127"):
        fetch(file, target)


def test_a_folder_that_cannot_be_made_is_told(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="could not be written"):
        fetch(known(server), tmp_path / "file" / "model.safetensors")


def test_a_broken_connection_loses_next_to_nothing(server, target):
    server.breaks, server.break_at = 1, downloads.PIECE * 5 + 100
    fetch(known(server), target)
    assert is_whole(target) and server.asked[1] == f"bytes={downloads.PIECE * 5}-"


def test_a_web_page_is_no_model_file(server, target):
    server.extra = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(DownloadError, match=r"answers a web page, not model\.safetensors"):
        fetch(known(server), target)
    assert not target.exists()


def test_a_full_disk_is_told_with_what_is_needed(server, target, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 2_000_000))
    with pytest.raises(NoSpace, match=r"No space .*: 3\.2 MB are needed in .*, and 2\.0 MB are free"):
        fetch(known(server), target)
    assert not target.exists()


def test_an_address_is_told_without_its_secrets(server, target):
    assert shown("https://me:word@h:8/a/b.pt?token=1#x") == "https://h:8/a/b.pt"
    server.statuses = [404]
    secret = KnownFile("loras", "a.pt", f"{server.url}?token=secret".replace("http://", "http://me:word@"))
    with pytest.raises(DownloadError) as caught:
        fetch(secret, target)
    assert server.url in str(caught.value) and server.paths == ["/model.safetensors?token=secret"]
    unreachable = KnownFile("loras", "a.pt", "http://me:word@127.0.0.1:1/a.pt?token=secret")
    with pytest.raises(DownloadError) as also:
        fetch(unreachable, target)
    assert not any(word in f"{caught.value} {also.value}" for word in ("secret", "word"))


@pytest.mark.parametrize(
    ("done", "size", "text"),
    [
        (0, 3_200_000, "Downloading a.pt, 0 % of 3.2 MB"),
        (1_000_000, 3_200_000, "Downloading a.pt, 31 % of 3.2 MB"),
        (3_200_000, 3_200_000, "Checking a.pt"),
        (1_000_000, None, "Downloading a.pt, 1.0 MB"),
    ],
)
def test_progress_in_words(done, size, text):
    assert sentence("a.pt", done, size) == text


def test_a_mirror_stands_in_for_the_hub_alone():
    interposer = by_name("vae_approx", "xl-to-v1_interposer-v4.0.safetensors").url
    there = "https://mirror.example/hub/mashb1t/misc/resolve/main/xl-to-v1_interposer-v4.0.safetensors"
    assert mirrored(interposer, "https://mirror.example/hub/") == there
    assert mirrored(interposer, "") == interposer
    elsewhere = by_name("inpaint", "u2net.onnx").url
    assert mirrored(elsewhere, "https://mirror.example") == elsewhere


@pytest.mark.parametrize(
    ("size", "text"), [(12, "12 bytes"), (213_777, "213.8 kB"), (5_667_280, "5.7 MB"), (6_938_040_682, "6.9 GB")]
)
def test_amounts_are_told_in_words_for_people(size, text):
    assert amount(size) == text
