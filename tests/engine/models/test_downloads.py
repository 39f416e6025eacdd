"""Model files from a real server: whole, broken and taken up, changed, refused."""

import hashlib
import random
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from engine.interruption import Interruption
from engine.job import Stopped
from engine.models import downloads
from engine.models.downloads import DownloadError, amount, download
from engine.models.known_files import KnownFile, by_name, mirrored

NO_DELAYS = (0.0, 0.0, 0.0)
BODY = random.Random(1).randbytes(3 * downloads.CHUNK + 12345)


class FileServer(ThreadingHTTPServer):
    """Serves `body`; breaks after `break_at` bytes as often as `breaks` says; `asked` has each Range it got."""

    daemon_threads = True

    def __init__(self):
        self.body, self.etag, self.ranges, self.statuses = BODY, '"one"', True, []
        self.breaks, self.break_at, self.asked, self.extra = 0, len(BODY) // 2, [], {}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler):
                self.answer(handler)

            def log_message(handler, *_):
                """Nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/model.safetensors"

    def answer(self, handler):
        """One answer; the connection ends with it."""
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        if handler.path == "/moved":
            return self.head(handler, 302, {"Location": self.url, "X-Linked-Etag": self.linked, "Content-Length": "0"})
        if self.statuses:
            return self.head(handler, self.statuses.pop(0), {"Content-Length": "0"})
        start, body = 0, self.body
        same = handler.headers.get("If-Range") == self.etag
        if wanted and self.ranges and same:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
        headers = {"Content-Length": str(len(body) - start), **({"ETag": self.etag} if self.etag else {})}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.head(handler, 206 if start else 200, headers)
        end = len(body)
        if self.breaks:
            self.breaks, end = self.breaks - 1, max(start, self.break_at)
        handler.wfile.write(body[start:end])
        return None

    def head(self, handler, status, headers):
        """The answer's first lines."""
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()


@pytest.fixture
def server():
    """A server of one file on a real port."""
    with FileServer() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    """Where the file goes: a folder that is not there yet."""
    return tmp_path / "new" / "model.safetensors"


def known(server, **facts):
    """The served file as a table would have it."""
    return KnownFile("checkpoints", "model.safetensors", server.url, **facts)


def fetch(file, target, tell=lambda *_: None, interruption=None):
    """Download without waiting between tries."""
    download(file, target, tell, interruption or Interruption(), delays=NO_DELAYS)


def is_whole(target, body=BODY):
    """Whether the file, and nothing else, is there."""
    return target.read_bytes() == body and [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_file_is_fetched_and_told_of(server, target):
    told = []
    fetch(known(server, size=len(BODY), md5=hashlib.md5(BODY).hexdigest()), target, lambda *news: told.append(news))
    assert is_whole(target)
    assert told[0] == (0, "Downloading model.safetensors, 0 % of 3.2 MB")
    assert told[-2:] == [(100, "Downloading model.safetensors, 100 % of 3.2 MB"), (100, "Checking model.safetensors")]
    assert [percent for percent, _ in told] == sorted(percent for percent, _ in told)


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
        fetch(known(server), target, lambda percent, _: percent > 20 and interruption.stop(), interruption)
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
