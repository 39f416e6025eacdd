"""Reading style files, the users' and ours, and applying them."""

import json
import logging
from pathlib import Path
from random import Random

import pytest

from engine.prompt.styles import Styles, StyleTemplate, normalised

DATA = Path(__file__).parent / "data" / "sdxl_styles"


@pytest.fixture
def folder(tmp_path):
    """`folder({file name: [styles]})` writes style files and gives their folder."""

    def write(files):
        for name, entries in files.items():
            (tmp_path / name).write_text(json.dumps(entries), "utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("sai-3d-model", "SAI 3D Model"),
        ("mre-sumi-e-detailed", "MRE Sumi E Detailed"),
        ("Flat 2d Art", "Flat 2d Art"),
        ("sai-enhance (sharp)", "SAI Enhance (Sharp)"),
        ("GTA game", "Gta Game"),
    ],
)
def test_a_name_is_spelled_as_requests_spell_it(written, name):
    assert normalised(written) == name


def test_requests_may_name_279_styles():
    names = Styles().names()
    assert (len(names), len(set(names))) == (279, 279)
    assert names[:3] == ["Fooocus V2", "Random Style", "Fooocus Enhance"]
    assert names[-1] == "Mk Shepard Fairey Style"


def test_every_style_can_be_applied():
    styles = Styles()
    without = {name for name in styles.template_names() if not styles.apply(name, "a cat").has_prompt}
    assert without == {"Fooocus Enhance", "Fooocus Semi Realistic", "Fooocus Negative"}
    assert all("a cat" in styles.apply(name, "a cat").positive[0] for name in {*styles.template_names()} - without)


@pytest.mark.parametrize(
    ("seed", "expected"),
    [(12345, ["Watercolor 2", "Fooocus Negative"]), (0, ["Op Art", "Mk Chromolithography"])],
)
def test_a_seed_draws_these_styles(seed, expected):
    random, names = Random(seed), Styles().template_names()
    assert [random.choice(names) for _ in range(2)] == expected


def test_a_template_takes_the_prompt_in_every_slot():
    texts = StyleTemplate("{prompt} seen twice: {prompt}", "dull\nflat").apply("a cat")
    assert texts.positive == ["a cat seen twice: a cat"]
    assert texts.negative == ["dull", "flat"]
    assert texts.has_prompt


def test_a_prompt_may_hold_braces():
    assert StyleTemplate("{prompt} {other}").apply("{x}").positive == ["{x} {other}"]


def test_a_users_file_adds_styles_before_the_families(folder):
    styles = Styles([folder({"mine.json": [{"name": "my-style", "prompt": "{prompt}, mine"}]})])
    assert styles.names()[2:4] == ["My Style", "Fooocus Enhance"]
    assert len(styles.names()) == 280
    assert styles.apply("My Style", "a cat").positive == ["a cat, mine"]


def test_a_users_style_replaces_ours_of_the_same_name(folder):
    styles = Styles([folder({"mine.json": [{"name": "Fooocus Sharp", "prompt": "{prompt}!"}]})])
    assert styles.apply("Fooocus Sharp", "a cat").positive == ["a cat!"]
    assert len(styles.names()) == 279


def test_a_users_file_of_a_familys_name_stands_in_its_place(folder):
    styles = Styles([folder({"sdxl_styles_sai.json": [{"name": "sai-anime", "prompt": "{prompt} only"}]})])
    assert [name for name in styles.names() if name.startswith("SAI")] == ["SAI Anime"]
    assert styles.names().index("SAI Anime") == 2 + 8


def test_a_later_entry_keeps_the_earlier_place(folder):
    entries = [{"name": "a", "prompt": "1"}, {"name": "b"}, {"name": "A", "prompt": "2"}]
    styles = Styles([folder({"mine.json": entries})])
    assert styles.names()[2:4] == ["A", "B"]
    assert styles.apply("A", "").positive == ["2"]


@pytest.mark.parametrize(
    "content", ["not json", '{"name": "x"}', '[{"prompt": "no name"}]', '[{"name": "x", "prompt": 3}]']
)
def test_a_broken_file_of_a_user_is_left_out_with_a_warning(tmp_path, caplog, content):
    (tmp_path / "broken.json").write_text(content)
    with caplog.at_level(logging.WARNING):
        assert len(Styles([tmp_path]).names()) == 279
    assert "broken.json" in caplog.text


def test_one_bad_entry_of_a_users_file_leaves_the_others(caplog):
    styles = Styles([DATA])
    names = styles.names()
    assert "Turn Two Good" in names and "Turn Two Last" in names
    assert styles.apply("Turn Two Null", "cat").negative == []
    assert "style 3 of" in caplog.text and "one_bad_entry.json" in caplog.text


def test_a_users_file_with_a_byte_order_mark_is_read():
    assert Styles([DATA]).apply("Turn Two Bom", "cat").positive == ["b cat"]


@pytest.mark.parametrize("encoding", ["utf-16", "gbk", "cp932"])
def test_a_users_file_in_another_encoding_is_read(tmp_path, encoding):
    text = '[{"name": "mine", "prompt": "水彩画 {prompt}"}]'
    (tmp_path / "mine.json").write_bytes(text.encode(encoding))
    assert Styles([tmp_path]).apply("Mine", "cat").positive == ["水彩画 cat"]


def test_an_unknown_style_is_an_error():
    assert "No Such Style" not in Styles()
    with pytest.raises(KeyError):
        Styles().apply("No Such Style", "a cat")
