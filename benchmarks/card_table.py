"""Tables of what `benchmarks.small_cards` measured, beside the public Fooocus where `benchmarks.checkout` did.

    python -m benchmarks.card_table FIGURES [--beside THEIRS]

FIGURES is what `small_cards --out` wrote; THEIRS what `checkout PATH --times N --gib …` printed.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.memory_plan import GIB

NO_LIMIT = "no limit"
HOST_BESIDE = 3 * 10**9
"""Bytes of the machine's memory that a drawing process may hold beside the model files in use."""
COLUMNS = ("free", "request", "plan", "seconds", "of unlimited", "beside it", "steps down", "on the card", "host")
BESIDE = ("free", "ours: first", "again", "another prompt", "Fooocus: first", "again", "ours of Fooocus's")
THEIRS = re.compile(r"alone, (?:([\d.]+) GiB|all of the card)")
"""How a row begins that `checkout` prints for a size."""

Figures = dict[str, dict[str, dict[str, Any]]]
"""By the rows' titles, by the requests'."""


def lines(figures: Figures) -> Iterator[str]:
    """A table in Markdown, a line for each request."""
    yield from _head(COLUMNS)
    unlimited = figures.get(NO_LIMIT, {})
    for title, row in figures.items():
        for case, told in row.items():
            if "failed" in told:
                yield _cells(title, case, f"**{told['failed']}**")
            else:
                yield _cells(title, case, *_told(told, unlimited.get(case, {})))


def _told(told: dict[str, Any], unlimited: dict[str, Any]) -> Iterator[str]:
    plan = told["plan"]
    streamed = f", {plan['streamed_blocks']} of {plan['blocks']} blocks" if "streamed_blocks" in plan else ""
    yield f"{plan['plan']}{streamed}{', tiles' if plan.get('tiles') else ''}"
    yield f"{told['s']:.2f} s"
    yield f"{told['s'] / unlimited['s']:.2f}" if unlimited.get("s") else ""
    yield f"same {told['same']}" if told.get("same") in ("bytes", "pixels") else told.get("same", "")
    yield str(told["steps_down"])
    yield f"{told['peak_gib']:.2f} GiB" if "peak_gib" in told else ""
    promised = told["files_gib"] + HOST_BESIDE / GIB
    yield f"{told['host_peak_gib']:.2f} GiB" + (
        f", **more than {promised:.2f}**" if told["host_peak_gib"] > promised else ""
    )


def beside(figures: Figures, theirs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """A table of default requests on cards of each size, ours and the public program's."""
    yield from _head(BESIDE)
    for title, row in figures.items():
        gib = "None" if title == NO_LIMIT else str(float(title.removesuffix(" GiB")))
        other, ours = theirs.get(gib, {}), [row.get(case, {}).get("s") for case in ("cold", "warm", "another prompt")]
        warm = [seconds for seconds in ours[1:] if seconds]
        ratio = f"{max(warm) / other['s']:.2f}" if warm and other.get("s") else ""
        yield _cells(title, *map(_seconds, ours), *(_seconds(other.get(name)) for name in ("cold_s", "s")), ratio)


def read_theirs(path: Path) -> dict[str, dict[str, Any]]:
    """What `checkout --times` printed of each size: a line of the log is enough, for not every run ends."""
    found: dict[str, dict[str, Any]] = {}
    for line in path.read_text("utf-8").splitlines():
        if row := THEIRS.match(line):
            words = line[row.end() :].split()
            gib = "None" if row[1] is None else str(float(row[1]))
            found[gib] = {name: float(value) for name, value in zip(words[::2], words[1::2], strict=True)}
    return found


def _seconds(value: float | None) -> str:
    return f"{value:.2f} s" if value else ""


def _head(columns: tuple[str, ...]) -> Iterator[str]:
    yield _cells(*columns)
    yield _cells(*("---" for _ in columns))


def _cells(*words: str) -> str:
    return f"| {' | '.join(words)} |"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path, nargs="+", help="what small_cards wrote; rows of later files count")
    parser.add_argument("--beside", type=Path, help="what checkout printed")
    arguments = parser.parse_args()
    figures: Figures = {}
    for path in arguments.figures:
        figures |= json.loads(path.read_text("utf-8"))
    print(*lines(figures), sep="\n")
    if arguments.beside:
        print("", *beside(figures, read_theirs(arguments.beside)), sep="\n")


if __name__ == "__main__":
    main()
