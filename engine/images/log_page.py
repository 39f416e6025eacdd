"""A day's log: one HTML page beside the pictures that shows each with how it was drawn."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from urllib.parse import quote

from engine.images.metadata import Row

NAME = "log.html"
SPLIT = "<!--fooocus-log-split-->"

_rewriting = Lock()

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Fooocus Log {day}</title>
<style>
body {{ background: #121212; color: #E0E0E0; font-family: sans-serif; }}
a {{ color: #BB86FC; }}
img {{ max-width: 512px; display: block; }}
td {{ vertical-align: top; }}
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
"""
_TAIL = "</body>\n</html>\n"


def add_entry(
    log: Path, picture: Path, rows: Sequence[Row], positive: Sequence[str] = (), negative: Sequence[str] = ()
) -> None:
    """Put a picture at the top of the page `log`, which is made if need be and is whole at every moment.

    `picture` is linked relative to the page; `positive` and `negative` are the texts encoded for it. A file of
    that name that is no such page is kept beside it as `log.html.old`.
    """
    name = Path(os.path.relpath(picture, log.parent)).as_posix()
    with _rewriting:
        entries = _entries(log)
        page = _HEAD.format(day=html.escape(log.parent.name))
        _replace(log, f"{page}{SPLIT}\n{_entry(name, rows, positive, negative)}{entries}{SPLIT}\n{_TAIL}")


def _entries(log: Path) -> str:
    """What stands between the page's two marks."""
    if not log.exists():
        return ""
    parts = log.read_text("utf-8", "replace").split(SPLIT)
    if len(parts) != 3:
        log.replace(log.with_name(f"{log.name}.old"))
        return ""
    return parts[1].lstrip("\n")


def _replace(log: Path, page: str) -> None:
    draft = log.with_name(f".{log.name}.{os.getpid()}")
    draft.write_text(page, "utf-8")
    draft.replace(log)


def _entry(name: str, rows: Sequence[Row], positive: Sequence[str], negative: Sequence[str]) -> str:
    values = quote(json.dumps({row.key: row.value for row in rows}))
    lines = [_row(row.label, _shown(row.value)) for row in rows]
    if positive or negative:
        blocks = _folded("Positive", positive) + _folded("Negative", negative)
        lines.append(_row("Full raw prompt", blocks))
    shown, link = html.escape(name), html.escape(quote(name))
    gone = "this.closest('.image-container').hidden = true"
    return f"""<div id="{html.escape(name.replace(".", "_"))}" class="image-container"><hr>
<table><tr><td><a href="{link}" target="_blank"><img src="{link}" loading="lazy" alt="" onerror="{gone}"></a>
<div>{shown}</div></td>
<td><table class="metadata">
{"".join(lines)}</table>
<button type="button" data-metadata="{values}">Copy to Clipboard</button></td></tr></table>
</div>
"""


def _row(label: str, markup: str) -> str:
    return f'<tr><td class="label">{html.escape(label)}</td><td class="value">{markup}</td></tr>\n'


def _folded(title: str, texts: Sequence[str]) -> str:
    return f"<details><summary>{title}</summary>{_shown(', '.join(texts))}</details>"


def _shown(value: object) -> str:
    return html.escape(str(value)).replace("\n", "<br>")
