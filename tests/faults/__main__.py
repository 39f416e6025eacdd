"""`python -m tests.faults --rounds 20`: every victim in every state, so many times over."""

from __future__ import annotations

import argparse
import tempfile
from itertools import count
from pathlib import Path
from time import monotonic

from tests.faults.rounds import STATES, VICTIMS, BrokenPromise, play
from tests.serving import Server
from tests.toy import toy_checkpoint


def main() -> None:
    """Print a line for each victim and state, and exit with the number of broken promises."""
    parser = argparse.ArgumentParser(prog="tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="rounds for each victim and state")
    rounds, numbers, broken = parser.parse_args().rounds, count(), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "models" / "checkpoints").mkdir(parents=True)
        toy_checkpoint(folder / "models" / "checkpoints" / "toy.safetensors")

        def make() -> Server:
            return Server(folder / f"instance-{next(numbers)}", folder / "models")

        for victim in VICTIMS:
            for state in STATES:
                begun, failures = monotonic(), []
                for _ in range(rounds):
                    try:
                        play(make, victim, state)
                    except BrokenPromise as error:
                        failures.append(str(error))
                broken += len(failures)
                seconds = monotonic() - begun
                print(
                    f"kill -9 of the {victim:6} {state:9} {rounds - len(failures)}/{rounds} kept, {seconds:.0f} s",
                    *failures,
                    sep="\n  ",
                    flush=True,
                )
    raise SystemExit(broken)


main()
