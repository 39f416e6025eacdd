"""A day's log: one HTML page beside the pictures that shows each with how it was drawn.

The page only grows, so the thousandth picture of a day costs what the first one does: the newest entry stands last in
the file, and the page's style shows it first. So the list of entries is never closed; browsers close it at the end.
"""

from __future__ import annotations

import errno
import fcntl
import html
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from urllib.parse import quote

from engine.images.metadata import Row

NAME = "log.html"
SPLIT = "<!--fooocus-log-split-->"
"""Stands before and after the entries on a page of Fooocus, and of our earlier versions. It may not stand on ours:
Fooocus would keep what is between two of them, and of a page without one it keeps all."""
END = "<!--fooocus-log-end-->\n"
"""Stands after the page's beginning, and after every entry."""
BLOCK = 4096
"""Bytes of the page's end read at once."""
WITHOUT_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
"""What some network folders answer; one engine alone needs no lock."""

_FIRST = """<!DOCTYPE html>
<!--fooocus-log, the newest last-->
"""
_HEAD = """<html lang="en">
<head>
<meta charset="utf-8">
<title>Fooocus Log {day}</title>
<style>
body {{ background: #121212; color: #E0E0E0; font-family: sans-serif; }}
a {{ color: #BB86FC; }}
img {{ max-width: 512px; display: block; }}
td {{ vertical-align: top; }}
main {{ display: flex; flex-direction: column-reverse; }}
.metadata {{ width: 100%; border-collapse: collapse; }}
.metadata td {{ border: 1px solid #4D4D4D; padding: 4px 8px; overflow-wrap: anywhere; }}
.label {{ width: 15%; }}
.value {{ font-weight: bold; }}
button {{ margin-top: 8px; padding: 6px 12px; background: #1E1E1E; color: inherit; border: 1px solid #4D4D4D; }}
</style>
</head>
<body>
<script>
addEventListener("click", async ({{ target }}) => {{
  if (!("metadata" in target.dataset)) return;
  try {{
    await navigator.clipboard.writeText(decodeURIComponent(target.dataset.metadata));
    target.textContent = "Copied";
  }} catch (error) {{
    target.textContent = "The browser does not let this page copy: " + error.message;
  }}
}});
</script>
<h1>Fooocus Log {day} (private)</h1>
<p>What stands here is also inside the pictures, unless embedding metadata was off when they were drawn.</p>
<main>
"""


def add_entry(
    log: Path, picture: Path, rows: Sequence[Row], positive: Sequence[str] = (), negative: Sequence[str] = ()
) -> None:
    """Put a picture at the top of the page `log`, which is made if need be; other engines may do so, too.

    `picture` is linked relative to the page; `positive` and `negative` are the texts encoded for it. Half an entry
    that a killed engine left goes. A page of Fooocus goes on below; a file of that name that is no such page is kept
    beside it as `log.html.old`.
    """
    name = Path(os.path.relpath(picture, log.parent)).as_posix()
    start, added = beginning(log.parent.name), entry(name, quote(name), rows, positive, negative)
    with _locked(log) as page:
        first = (page.read(len(_FIRST)) or b"").decode("utf-8", "replace")
        if _FIRST.startswith(first):
            _append(page, start, added)
        else:
            _replace(log, start + _earlier(log) + added)


def beginning(day: str) -> str:
    """What a page begins with; entries follow, the newest last."""
    return _FIRST + _HEAD.format(day=html.escape(day)) + END


def entry(name: str, url: str, rows: Sequence[Row], positive: Sequence[str] = (), negative: Sequence[str] = ()) -> str:
    """What a page shows of one picture, which is called so and lies at this URL."""
    values = quote(json.dumps({row.key: row.value for row in rows}))
    lines = [_row(row.label, _shown(row.value)) for row in rows]
    if positive or negative:
        blocks = _folded("Positive", positive) + _folded("Negative", negative)
        lines.append(_row("Full raw prompt", blocks))
    shown, link = html.escape(name), html.escape(url)
    gone = "this.closest('.image-container').hidden = true"
    return f"""<div id="{html.escape(name.replace(".", "_"))}" class="image-container"><hr>
<table><tr><td><a href="{link}" target="_blank"><img src="{link}" loading="lazy" alt="" onerror="{gone}"></a>
<div>{shown}</div></td>
<td><table class="metadata">
{"".join(lines)}</table>
<button type="button" data-metadata="{values}">Copy to Clipboard</button></td></tr></table>
</div>
{END}"""


@contextmanager
def _locked(log: Path) -> Iterator[FileIO]:
    """The page, and nobody else writes to it; made if need be."""
    while True:
        with FileIO(os.open(log, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+") as page:
            _lock(page)
            if _stands(page, log):  # else another engine replaced it while we waited
                yield page
                return


def _lock(page: FileIO) -> None:
    try:
        fcntl.flock(page, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise


def _stands(page: FileIO, log: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(page.fileno()), log.stat())
    except FileNotFoundError:
        return False


def _append(page: FileIO, beginning: str, entry: str) -> None:
    """Write an entry after the last that is whole; the page's beginning first, if that is not."""
    end = _whole(page)
    page.truncate(end)
    page.seek(end)
    rest = memoryview((entry if end else beginning + entry).encode("utf-8"))
    while rest:
        rest = rest[page.write(rest) :]


def _whole(page: FileIO) -> int:
    """How many bytes are whole entries, or the beginning; a killed engine or a full disk may have left more."""
    end, tail, mark = page.seek(0, os.SEEK_END), b"", END.encode()
    while end and mark not in tail:
        end, before = max(0, end - BLOCK), end
        page.seek(end)
        tail = page.read(before - end) + tail
    return end + tail.rindex(mark) + len(mark) if mark in tail else 0


def _earlier(log: Path) -> str:
    """The entries of a page that puts the newest first, as one entry."""
    parts = log.read_text("utf-8", "replace").split(SPLIT)
    if len(parts) != 3:
        shutil.copyfile(log, log.with_name(f"{log.name}.old"))
        return ""
    return f"<div>{parts[1]}</div>\n{END}"


def _replace(log: Path, page: str) -> None:
    draft = log.with_name(f".{log.name}.{os.getpid()}")
    draft.write_text(page, "utf-8")
    draft.replace(log)


def _row(label: str, markup: str) -> str:
    return f'<tr><td class="label">{html.escape(label)}</td><td class="value">{markup}</td></tr>\n'


def _folded(title: str, texts: Sequence[str]) -> str:
    return f"<details><summary>{title}</summary>{_shown(', '.join(texts))}</details>"


def _shown(value: object) -> str:
    return html.escape(str(value)).replace("\n", "<br>")
