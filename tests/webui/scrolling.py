"""A gallery of very many tasks, and how long a browser takes for each frame while it scrolls."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.patience import CEILING, patiently
from tests.serving import Server

FRAMES = """(count) => new Promise((resolve) => {
    const box = document.querySelector(".grid-box");
    const gaps = [];
    let before = 0;
    const step = (now) => {
        if (before) gaps.push(now - before);
        before = now;
        box.scrollTop += 60;
        if (gaps.length < count) requestAnimationFrame(step);
        else resolve(gaps.sort((one, other) => one - other));
    };
    requestAnimationFrame(step);
})"""
"""Scrolls the gallery by 60 pixels a frame; the milliseconds of this many frames, the shortest first."""


@contextmanager
def many_tasks(server: Server, count: int) -> Iterator[None]:
    """So many more ended tasks, put into the server's database at once, and taken out of it again."""
    path = server.instance / "db.sqlite3"
    copied = server.draw({"prompt": "one of many"}).json["task_id"]
    with sqlite3.connect(path, timeout=CEILING) as database:
        columns = [row[1] for row in database.execute("pragma table_info(generate_record)") if row[1] != "id"]
        names = ", ".join(columns)
        (row,) = database.execute(f"select {names} from generate_record where task_id = ?", [copied])
        rows = [[*row] for _ in range(count)]
        for number, one in enumerate(rows):
            one[columns.index("task_id")] = f"{number:032x}"
        database.executemany(f"insert into generate_record ({names}) values ({', '.join('?' * len(columns))})", rows)
    patiently(lambda seconds: counted(server, seconds) > count, "the rows are not counted", server.working)
    try:
        yield
    finally:
        with sqlite3.connect(path, timeout=CEILING) as database:
            database.execute("delete from generate_record where task_id < ?", [f"{count:032x}"])
        patiently(lambda seconds: counted(server, seconds) <= count, "their loss is not counted", server.working)


def measured_frames(page: Any, count: int) -> list[float]:
    """Milliseconds of each frame while the gallery that is open scrolls, the shortest first."""
    found: list[float] = page.evaluate(FRAMES, count)
    return found


def counted(server: Server, seconds: float) -> int:
    """How many ended tasks the server knows of so many seconds later: rows of others are counted now and then."""
    time.sleep(seconds)
    return int(server.get("/tasks?query=history&page_size=1").headers["X-Total-Count"])
