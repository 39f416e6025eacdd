"""Many clients load pictures out of a bucket through the server, and others follow a task: whether they are held up.

    python -m benchmarks.downloads                      50 pictures at once, again and again for 20 s
    python -m benchmarks.downloads --serve redirect     the server only signs, and clients load from the bucket

The bucket is that of `make clients` (JuiceFS's gateway), on this machine. No picture has a copy on the server's disk,
so each is fetched by the bucket's four threads. The card is simulated (`benchmarks.simulated_card`), so events come
at a known pace: what a stream gets later than that is the server's. The same is told first without any download.
"""

from gevent import monkey

monkey.patch_all()

import argparse
import http.client
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import gevent
from PIL import Image

from benchmarks.load import percentile, pinging, told
from benchmarks.many_cards import lag, noise, preview, request
from benchmarks.simulated_server import CARD
from fooocus_flask.following.streams import GAP
from tests.gateway import BUCKET, KEY, SECRET, Gateway, binary
from tests.serving import GENERATE, Server, Stream

STEP, AROUND = 0.034, 0.13
LATE_LIMIT = 100.0
"""Milliseconds by which 99 of 100 events may be late."""
SHAPE = (896, 1152, 3)


@contextmanager
def serving(folder: Path, gateway: Gateway, serve: str) -> Iterator[Server]:
    """A server whose pictures lie in the gateway's bucket, with one simulated card."""
    picture = folder / "picture.png"
    Image.fromarray(noise(SHAPE)).save(picture, compress_level=1)
    card = [str(preview(folder)), str(picture), str(STEP), str(AROUND)]
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    place = {"FOOOCUS_STORAGE_URL": f"s3://{BUCKET}/v1", "FOOOCUS_S3_ENDPOINT_URL": gateway.url}
    settings = {**keys, **place, "FOOOCUS_S3_ADDRESSING": "path", "FOOOCUS_STORAGE_SERVE": serve}
    command = [sys.executable, "-m", "benchmarks.simulated_server"]
    (folder / "models").mkdir()
    server = Server(folder / "instance", folder / "models", command, **settings, **{CARD: shlex.join(card)})
    try:
        yield server.ready()
    finally:
        server.stop()


class Downloads:
    """Clients that load these pictures, each one after another."""

    def __init__(self, server: Server, paths: list[str]) -> None:
        self._server, self._paths = server, paths
        self.times: list[float] = []
        self.broken: list[str] = []
        self.size = 0

    def load(self, path: str) -> None:
        """Load a picture wherever it leads to, again and again."""
        while True:
            begun = time.perf_counter()
            status, body = self._loaded(f"http://127.0.0.1:{self._server.port}{path}")
            self.times.append((time.perf_counter() - begun) * 1e3)
            self.size = self.size or len(body)
            if status != 200 or len(body) != self.size:
                self.broken.append(f"{path} was answered {status} with {len(body)} bytes")
            (self._server.instance / path.partition("?")[0].removeprefix("/")).unlink(missing_ok=True)  # its copy

    def _loaded(self, url: str) -> tuple[int, bytes]:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        body, location = answer.read(), answer.headers["Location"]
        connection.close()
        return self._loaded(location) if location else (answer.status, body)


def late(server: Server, until: float) -> list[float]:
    """Milliseconds by which a stream's events come later than they could, one task after another."""
    found = []
    while time.perf_counter() < until:
        stream = server.follow_request(request(stream_output=True))
        reads = [moment for moment, _ in timed(stream)]
        # An event is sent when its step is known, and no sooner than the gap after the one before. The end has its own.
        found += [max(0.0, (b - a - GAP - STEP) * 1e3) for a, b in pairwise(reads[:-1])]
    return found


def timed(stream: Stream) -> Iterator[tuple[float, bytes]]:
    """Each event with the moment at which it was read."""
    while chunk := stream.chunk():
        yield time.perf_counter(), chunk
    stream.close()


def measured(server: Server, seconds: float) -> list[float]:
    """Print how late events, `/ping` and the event loop are; the events'."""
    before = lag(server)
    with pinging(server.port) as pings:
        found = late(server, time.perf_counter() + seconds)
    later = {bound: count - before[bound] for bound, count in lag(server).items()}
    worst = next((bound for bound, count in sorted(later.items()) if count == max(later.values())), float("inf"))
    print(f"  events late by {told(found)}; GET /ping {told(pings)}; event loop at most {worst * 1000:.0f} ms late")
    return found


def main() -> None:
    """Print the figures; the exit status is 1 if events were too late or a download failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50, help="pictures loaded at the same time")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each is measured")
    parser.add_argument("--serve", choices=("proxy", "redirect"), default="proxy", help="STORAGE_SERVE")
    args = parser.parse_args()
    program = binary()
    if program is None:
        parser.error("no S3 server is installed; run `make clients`")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "gateway").mkdir()
        gateway = Gateway(folder / "gateway", program)
        try:
            with serving(folder, gateway, args.serve) as server:
                raise SystemExit(compared(args, server))
        finally:
            gateway.stop()


def compared(args: argparse.Namespace, server: Server) -> int:
    """Measure without downloads and with them; how many limits were missed."""
    paths = []
    for _ in range(args.clients):
        url = server.ask("POST", GENERATE, request(), Accept="application/json").json["result"][0]
        paths.append("/" + url.split("/", 3)[3])
    shutil.rmtree(server.instance / "outputs")
    busy = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"nobody loads pictures; {busy}")
    measured(server, args.seconds)
    downloads = Downloads(server, paths)
    begun, clients = time.perf_counter(), [gevent.spawn(downloads.load, path) for path in paths]
    print(f"{args.clients} clients load pictures at once, STORAGE_SERVE={args.serve}")
    found = measured(server, args.seconds)
    rate = len(downloads.times) / (time.perf_counter() - begun)
    gevent.killall(clients)
    loaded = f"{len(downloads.times)} downloads of {downloads.size / 1e6:.1f} MB, {rate:.1f} a second"
    print(f"  {loaded}, {told(downloads.times)}")
    print(*downloads.broken[:10], sep="\n", end="\n" if downloads.broken else "")
    print(*(line for line in server.lines if "ERROR" in line), sep="", end="")
    return (percentile(found) > LATE_LIMIT) + bool(downloads.broken)


if __name__ == "__main__":
    main()
