"""The day's log page: newest first, nothing in it is markup that should be text; it grows, and is never rewritten."""

import json
import os
import re
import tracemalloc
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from html.parser import HTMLParser
from multiprocessing import get_context
from urllib.parse import unquote

import pytest

from engine.images.log_page import END, SPLIT, add_entry
from engine.images.metadata import Row

EARLIER = """<!DOCTYPE html>
<html lang="en"><head><title>Fooocus Log 2026-03-04</title></head><body><h1>Fooocus Log 2026-03-04 (private)</h1>
<!--fooocus-log-split-->
<div id="b_png" class="image-container"><hr><img src="b.png" loading="lazy"><div>b.png</div></div>
<div id="a_png" class="image-container"><hr><img src="a.png" loading="lazy"><div>a.png</div></div>
<!--fooocus-log-split-->
</body>
</html>
"""
"""A page as earlier versions and Fooocus itself write it, the newest picture first."""
ROWS = [Row("Prompt", "prompt", "a cat\nsecond line"), Row("Steps", "steps", 30), Row("Scheme", "scheme", False)]


@pytest.fixture
def folder(tmp_path):
    day = tmp_path / "2026-03-04"
    day.mkdir()
    return day


class Page(HTMLParser):
    """A page's elements as (tag, attributes), its text, and what its pictures are called in each block of `main`."""

    def __init__(self, log):
        super().__init__()
        self.elements, self.text, self.blocks, self.depth = [], "", [], None
        self.feed(log.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "main":
            self.depth = 0
        elif tag == "div" and self.depth is not None:
            self.blocks += [[]] if self.depth == 0 else []
            self.depth += 1
        elif tag == "img":
            self.blocks[-1].append(dict(attrs)["src"])

    def handle_endtag(self, tag):
        if tag == "div" and self.depth is not None:
            self.depth -= 1

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def names(log):
    """The pictures as a browser shows them from the top: the blocks of `main` are turned round by its style."""
    page = Page(log)
    assert re.search(r"main \{ display: flex; flex-direction: column-reverse; \}", page.text)
    return [name for block in reversed(page.blocks) for name in block]


def test_a_new_page_has_the_day_the_picture_and_its_rows(folder):
    add_entry(folder / "log.html", folder / "one.png", ROWS, ["a cat", "soft light"], ["fog"])
    page = Page(folder / "log.html")
    assert "Fooocus Log 2026-03-04 (private)" in page.text
    assert [image["src"] for image in page.all("img")] == ["one.png"]
    assert {"id": "one_png", "class": "image-container"} in page.all("div")
    assert ("br", {}) in page.elements
    for text in ("Prompt", "second line", "30", "False", "Full raw prompt", "a cat, soft light", "fog"):
        assert text in page.text


def test_the_newest_picture_stands_first(folder):
    for name in ("one.png", "two.png", "three.png"):
        add_entry(folder / "log.html", folder / name, ROWS)
    assert names(folder / "log.html") == ["three.png", "two.png", "one.png"]


def test_a_page_grows_at_its_end_and_what_stands_there_is_not_read(folder):
    log = folder / "log.html"
    add_entry(log, folder / "one.png", ROWS)
    with log.open("a") as page:
        page.writelines(f"<p>{'x' * 1_000_000}</p>\n" for _ in range(8))
        page.write(END)
    before, file = log.stat().st_size, log.stat().st_ino
    tracemalloc.start()
    add_entry(log, folder / "two.png", ROWS)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000
    assert log.stat().st_ino == file and 0 < log.stat().st_size - before < 10_000
    assert names(log) == ["two.png", "one.png"]


@pytest.mark.parametrize("lost", [1, len(END) + 1, 700, 100_000])
def test_half_an_entry_left_by_a_killed_engine_is_gone_with_the_next_one(folder, lost):
    log = folder / "log.html"
    add_entry(log, folder / "one.png", ROWS)
    add_entry(log, folder / "two.png", [Row("Prompt", "prompt", "long " * 30_000)])
    os.truncate(log, log.stat().st_size - lost)
    add_entry(log, folder / "three.png", ROWS)
    assert names(log) == ["three.png", "one.png"]
    assert log.read_text("utf-8").count(END) == 3


def test_half_a_beginning_left_by_a_killed_engine_is_begun_again(folder):
    log = folder / "log.html"
    add_entry(log, folder / "one.png", ROWS)
    whole = log.read_text("utf-8")
    for length in (0, 5, 40, 60, 800):
        log.write_text(whole[:length])
        add_entry(log, folder / "one.png", ROWS)
        assert log.read_text("utf-8") == whole
    assert [path.name for path in folder.iterdir()] == ["log.html"]


def test_a_page_of_an_earlier_version_goes_on(folder):
    log = folder / "log.html"
    log.write_text(EARLIER)
    for name in ("c.png", "d.png"):
        add_entry(log, folder / name, ROWS)
    assert names(log) == ["d.png", "c.png", "b.png", "a.png"]
    assert [path.name for path in folder.iterdir()] == ["log.html"]


def test_a_fooocus_that_writes_into_the_same_folder_loses_nothing(folder):
    """It puts its entry before what stands between its own two marks, or, where there are none, before all there is."""
    log = folder / "log.html"
    for name in ("a.png", "b.png"):
        add_entry(log, folder / name, ROWS)
    ours = log.read_text("utf-8")
    assert SPLIT not in ours
    head, _, tail = EARLIER.split(SPLIT)
    theirs = '<div class="image-container"><img src="c.png"></div>'
    log.write_text(f"{head}{SPLIT}{theirs}{ours}{SPLIT}{tail}")
    add_entry(log, folder / "d.png", ROWS)
    assert sorted(names(log)) == ["a.png", "b.png", "c.png", "d.png"]


def test_the_button_copies_the_rows_as_json(folder):
    rows = [*ROWS, Row("Notes", "notes", "\"'<&%猫")]
    add_entry(folder / "log.html", folder / "one.png", rows)
    (button,) = Page(folder / "log.html").all("button")
    assert json.loads(unquote(button["data-metadata"])) == {row.key: row.value for row in rows}


def test_nothing_a_user_writes_becomes_markup(folder):
    attack = f"</td><script>alert(1)</script>{SPLIT}\" onload='x' &lt;"
    picture = folder / "a\"b'<i>#?%20.png"
    for _ in range(2):
        add_entry(folder / "log.html", picture, [Row(attack, attack, attack)], [attack], [attack])
    page = Page(folder / "log.html")
    assert len(page.all("script")) == 1
    assert not page.all("i")
    assert page.text.count(attack) == 8
    assert [unquote(name) for name in names(folder / "log.html")] == [picture.name] * 2


def test_a_picture_in_another_folder_is_linked_there(folder):
    add_entry(folder / "log.html", folder / "series" / "one 1.png", ROWS)
    add_entry(folder / "log.html", folder.parent / "series" / "two.png", ROWS)
    assert names(folder / "log.html") == ["../series/two.png", "series/one%201.png"]


def test_a_picture_without_texts_has_no_row_for_them(folder):
    add_entry(folder / "log.html", folder / "one.png", ROWS)
    assert "Full raw prompt" not in Page(folder / "log.html").text


def test_a_file_that_is_no_log_is_kept_beside_the_new_one(folder):
    (folder / "log.html").write_text("something else")
    add_entry(folder / "log.html", folder / "one.png", ROWS)
    assert (folder / "log.html.old").read_text() == "something else"
    assert names(folder / "log.html") == ["one.png"]


def test_entries_written_at_once_are_all_kept(folder):
    expected = [f"{index}.png" for index in range(24)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: add_entry(folder / "log.html", folder / name, ROWS), expected))
    assert sorted(names(folder / "log.html")) == sorted(expected)
    assert [path.name for path in folder.iterdir()] == ["log.html"]


def add_many(log, name, count):
    """Put so many entries on the page."""
    for number in range(count):
        add_entry(log, log.parent / f"{name}-{number}.png", ROWS)


@pytest.mark.parametrize("before", ["", EARLIER])
def test_two_engines_may_write_into_one_folder(folder, before):
    log = folder / "log.html"
    if before:
        log.write_text(before)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for writing in [pool.submit(add_many, log, name, 50) for name in "xy"]:
            writing.result()
    earlier = ["a.png", "b.png"] if before else []
    assert sorted(names(log)) == sorted([*earlier, *(f"{name}-{number}.png" for name in "xy" for number in range(50))])


def test_the_page_loads_nothing_from_elsewhere(folder):
    add_entry(folder / "log.html", folder / "one.png", ROWS)
    assert not re.search(r"https?:|//\w", (folder / "log.html").read_text("utf-8"))
