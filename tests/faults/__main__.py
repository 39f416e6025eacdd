"""`python -m tests.faults --rounds 20`: every victim in every state, so many times over.

With `--start`, first starts and upgrades of the database are killed instead; with `--fleet`, cards and machines of a
Ray cluster, and its driver. With `--bucket` the pictures lie in a bucket, which `make clients` installs, and which is
killed too.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from tests import gateway
from tests.faults import starts
from tests.faults.bucket import BUCKET_VICTIM, BucketRound, BucketServer
from tests.faults.rounds import ONE_OF_SEVERAL, SETTINGS, STATES, VICTIMS, Round, play
from tests.faults.starts import BEGINNINGS
from tests.gateway import Gateway
from tests.receiving import Receiver, receiving
from tests.serving import Server


def main() -> None:
    """Print a line for each victim and state, and exit with the number of broken promises."""
    parser = argparse.ArgumentParser(prog="tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="rounds for each victim and state")
    parser.add_argument(
        "--engines", type=int, default=1, help="engines of each server; with several, one dies at times"
    )
    parser.add_argument("--bucket", action="store_true", help="keep pictures in a bucket, and kill that as well")
    parser.add_argument("--start", action="store_true", help="kill first starts and upgrades instead")
    parser.add_argument("--every", type=float, default=0.01, help="seconds between two such kills' moments")
    parser.add_argument("--rows", type=int, default=1000, help="rows in each table of a database that is upgraded")
    parser.add_argument("--fleet", action="store_true", help="kill cards and machines of a fleet instead; needs Ray")
    parser.add_argument("--tasks", type=int, default=900, help="tasks that the fleet draws meanwhile")
    parser.add_argument("--pause", type=float, default=3.0, help="seconds between two kills in the fleet")
    parser.add_argument("--seed", type=int, default=0, help="of what is killed in the fleet")
    args = parser.parse_args()
    if args.fleet:
        from tests.faults import fleet  # which makes checkpoints as well

        raise SystemExit(fleet.play(args.tasks, args.pause, args.seed))
    if args.start:
        raise SystemExit(kill_starts(args.every, args.rows))
    program = gateway.binary() if args.bucket else None
    if args.bucket and program is None:
        parser.error("no S3 server is installed; run `make clients`")
    raise SystemExit(kill_servers(args.rounds, args.engines, program))


def kill_starts(every: float, rows: int) -> int:
    """Kill starts at every such moment; the number of broken promises."""
    broken = 0
    for revision in BEGINNINGS:
        begun = monotonic()
        kills, failures = starts.play(revision, every, rows)
        broken += len(failures)
        what = f"upgrade from {revision}, {rows} rows a table" if revision else "first start"
        kept = f"{kills} kills, {len(failures)} broken, {monotonic() - begun:.0f} s"
        print(f"kill -9 at every {every * 1000:.0f} ms of a {what}: {kept}", *failures, sep="\n  ", flush=True)
    return broken


def kill_servers(rounds: int, engines: int, program: str | None) -> int:
    """Kill servers at work, their engines and, with the program of one, their bucket; the number of broken promises."""
    victims = [*VICTIMS, *([ONE_OF_SEVERAL] if engines > 1 else []), *([BUCKET_VICTIM] if program else [])]
    broken = 0
    with tempfile.TemporaryDirectory() as name, receiving() as receiver:
        models = Path(name) / "models"
        for victim in victims:
            for state in STATES:
                begun = monotonic()
                failures = played(Subject(models, engines, program), receiver, victim, state, rounds)
                broken += len(failures)
                kept, seconds = f"{rounds - len(failures)}/{rounds} kept", monotonic() - begun
                print(
                    f"kill -9 of the {victim:10} {state:11} {kept}, {seconds:.0f} s", *failures, sep="\n  ", flush=True
                )
    return broken


@dataclass(frozen=True)
class Subject:
    """What servers of the rounds are started with; `program` is the bucket's, where their pictures lie in one."""

    models: Path
    engines: int
    program: str | None


def played(subject: Subject, receiver: Receiver, victim: str, state: str, rounds: int) -> list[str]:
    """What was broken in so many rounds; a server goes through one after the other until it breaks a promise."""
    failures: list[str] = []
    while rounds > 0:
        with serving(subject) as server:
            try:
                while rounds > 0:
                    rounds -= 1
                    play(server, receiver, victim, state, BucketRound if subject.program else Round)
            except (AssertionError, OSError, TimeoutError) as error:  # whatever a client may meet
                failures.append(f"{type(error).__name__}: {error}")
    return failures


@contextmanager
def serving(subject: Subject) -> Iterator[Server]:
    """A server in a folder of its own, with a bucket of its own if it shall have one."""
    toy = subject.models / "checkpoints" / "toy.safetensors"
    if not toy.exists():
        from tests.toy import toy_checkpoint  # for which libraries are imported for seconds

        toy.parent.mkdir(parents=True)
        toy_checkpoint(toy)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ends:
        place, environment = Path(folder), {"FOOOCUS_ENGINES": str(subject.engines), **SETTINGS}
        if subject.program is None:
            server = Server(place / "instance", subject.models, **environment)
        else:
            (place / "gateway").mkdir()
            bucket = Gateway(place / "gateway", subject.program)
            ends.callback(bucket.stop)
            server = BucketServer(place / "instance", subject.models, **environment, **bucket.environment(place))
            server.gateway = bucket
        try:
            yield server
        finally:
            if server.process.poll() is None:
                server.stop()


main()
