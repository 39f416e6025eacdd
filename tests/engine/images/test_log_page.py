"""The day's log page: newest first, nothing in it is markup that should be text, whole after every rewrite."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from engine.images.log_page import SPLIT, add_entry
from engine.images.metadata import Row

ROWS = [Row("Prompt", "prompt", "a cat\nsecond line"), Row("Steps", "steps", 30), Row("Scheme", "scheme", False)]


@pytest.fixture
def folder(tmp_path):
    day = tmp_path / "2026-03-04"
    day.mkdir()
    return day


class Page(HTMLParser):
    """A page's elements as (tag, attributes), and its text."""

    def __init__(self, log):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(log.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def names(log):
    return [image["src"] for image in Page(log).all("img")]


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
    assert (folder / "log.html").read_text("utf-8").count(SPLIT) == 2


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


def test_the_page_loads_nothing_from_elsewhere(folder):
    add_entry(folder / "log.html", folder / "one.png", ROWS)
    assert not re.search(r"https?:|//\w", (folder / "log.html").read_text("utf-8"))
