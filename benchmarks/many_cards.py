"""How many cards one web process carries: simulated ones, which tell at a card's pace and draw nothing.

    python -m benchmarks.many_cards                      more and more cards of an H100's pace, each task followed
    python -m benchmarks.many_cards --step 0.15 --around 0.8 --cards 8,16,32,64,128     slower ones
    python -m benchmarks.many_cards --unfollowed         nobody follows; clients poll each second

There are twice as many tasks as cards at every moment, each with a client of its own. For each number of cards: the
answers to `/ping`, how late the event loop runs, the share of a core that the web process takes, and how much of the
cards' time is used. The exit status is 0 once a number was found whose p99 of `/ping` passes 100 ms.
"""

from gevent import monkey

monkey.patch_all()

import argparse
import http.client
import json
import os
import re
import shlex
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import gevent
import numpy as np

from benchmarks.load import PING_LIMIT, percentile, pinging, told
from benchmarks.simulated_card import STEPS
from benchmarks.simulated_server import CARD
from engine.images.codecs import encode_small_png
from engine.images.reading import Pixels
from tests.serving import GENERATE, Server

SIZE = (112, 144, 3)
"""Of a preview of a picture of 1152×896."""
WARM_UP = 5.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Clients:
    """As many clients as tasks shall be there at a time; each has one after the other drawn."""

    port: int
    followed: bool
    ended: int = 0
    bytes: int = 0
    greenlets: list[gevent.Greenlet] = field(default_factory=list)

    def start(self, number: int) -> None:
        """Let them ask."""
        self.greenlets = [gevent.spawn(self._ask_on) for _ in range(number)]

    def stop(self) -> None:
        """Let them go away."""
        gevent.killall(self.greenlets)

    def _ask_on(self) -> None:
        while True:
            (self._follow if self.followed else self._poll)()
            self.ended += 1

    def _follow(self) -> None:
        body = json.dumps(request(stream_output=True)).encode()
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            head = f"POST {GENERATE} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            while data := connection.recv(1 << 18):
                self.bytes += len(data)

    def _poll(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        head = {"Content-Type": "application/json"}
        connection.request("POST", GENERATE, json.dumps(request(async_process=True)), head)
        task = json.loads(connection.getresponse().read())["task_id"]
        while True:
            gevent.sleep(1.0)
            connection.request("GET", f"/tasks/{task}")
            data = connection.getresponse().read()
            self.bytes += len(data)
            if json.loads(data)["task_status"] == "finished":
                return


def request(**members: object) -> dict[str, object]:
    """What each client asks for."""
    return {"prompt": "a sailboat at dusk", "base_model_name": "fooocus_mini.safetensors", **members}


def preview(folder: Path) -> Path:
    """A preview's file, of as many bytes as one may have: noise."""
    path = folder / "preview.png"
    path.write_bytes(encode_small_png(noise(SIZE)))
    return path


def noise(shape: tuple[int, ...]) -> Pixels:
    """A picture that no encoder makes small."""
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def processor_time(pid: int) -> float:
    """Seconds for which a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def lag(server: Server) -> dict[float, int]:
    """How often the event loop ran no later than so many seconds, since the start."""
    text = server.get("/metrics").body.decode()
    found = re.findall(r'^fooocus_hub_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', text, re.MULTILINE)
    return {float(bound): int(float(count)) for bound, count in found}


def measured(args: argparse.Namespace, cards: int) -> float:
    """Print one row; the 99th percentile of `/ping` in milliseconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "models").mkdir()
        shown = str(preview(folder))
        settings = {
            CARD: shlex.join([shown, shown, str(args.step), str(args.around)]),
            "FOOOCUS_ENGINES": str(cards),
            "FOOOCUS_QUEUE_LIMIT": "0",
        }
        command = [sys.executable, "-m", "benchmarks.simulated_server"]
        server = Server(folder / "instance", folder / "models", command, **settings)
        try:
            while not all(lane["state"] == "ready" for lane in server.get("/ready").json["lanes"] or [{"state": ""}]):
                time.sleep(0.2)
            return under_load(args, server, cards)
        finally:
            server.stop()


def under_load(args: argparse.Namespace, server: Server, cards: int) -> float:
    """Print what a server does with so many cards at work; the 99th percentile of `/ping` in milliseconds."""
    clients, pid = Clients(server.port, not args.unfollowed), server.process.pid
    clients.start(2 * cards)
    gevent.sleep(WARM_UP + STEPS * args.step + args.around)
    late, ended, sent = lag(server), clients.ended, clients.bytes
    began, computed = time.perf_counter(), processor_time(pid)
    with pinging(server.port) as pings:
        gevent.sleep(args.seconds)
    seconds = time.perf_counter() - began
    computed, ended, sent = processor_time(pid) - computed, clients.ended - ended, clients.bytes - sent
    later = {bound: count - late[bound] for bound, count in lag(server).items()}
    clients.stop()
    whole = max(later.values())
    worst = next((bound for bound, count in sorted(later.items()) if count == whole), float("inf"))
    ideal = cards * seconds / (STEPS * args.step + args.around)
    print(
        f"{cards:4} cards  {told(pings):28} loop at most {worst * 1000:5.0f} ms late  "
        f"{computed / seconds:4.2f} of a core  {computed / max(1, ended) * 1000:5.0f} ms a task  "
        f"{ended / seconds:6.1f} tasks/s, {ended / ideal:4.0%} of the cards' time  {sent / seconds / 1e6:5.1f} MB/s",
        flush=True,
    )
    return percentile(pings)


def main() -> None:
    """Print rows until `/ping` is too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", default="1,4,8,12,16,24,32,48,64,96,128", help="how many, one number after another")
    parser.add_argument("--step", type=float, default=0.034, help="seconds that a card takes for a step: an H100's")
    parser.add_argument("--around", type=float, default=0.13, help="seconds that a card takes for the rest of a task")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each number is measured")
    parser.add_argument("--unfollowed", action="store_true", help="no client follows its task")
    parser.add_argument("--on", action="store_true", help="measure the larger numbers too, once one is too many")
    args = parser.parse_args()
    busy = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{STEPS} steps of {args.step * 1000:.0f} ms and {args.around * 1000:.0f} ms a task; {busy}")
    slow = 0
    for cards in map(int, args.cards.split(",")):
        slow += measured(args, cards) > PING_LIMIT
        if slow and not args.on:
            break
    raise SystemExit(0 if slow else 1)


if __name__ == "__main__":
    main()
