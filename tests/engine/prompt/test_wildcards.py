"""Words in place of placeholders, and arrays."""

from pathlib import Path
from random import Random

import pytest

from engine.prompt.wildcards import LONGEST, Wildcards, with_array_items
from tests.processor_time import processor_time


@pytest.fixture
def folder(tmp_path):
    files = {
        "fruit.txt": "apple\nplum\n\nfig \n",
        "basket.txt": "a basket of __fruit__",
        "echo.txt": "__echo__ __echo__",
        "none.txt": "\n\n",
        "both.txt": "parent",
        "sub/both.txt": "child",
        "color.txt": "mauve",
    }
    (tmp_path / "sub").mkdir()
    for name, words in files.items():
        (tmp_path / name).write_text(words, "utf-8")
    return tmp_path


DATA = Path(__file__).parent / "data" / "wildcards"


def drawn(wildcards, text, seed=0):
    return wildcards.resolved(text, Random(seed), 0, in_order=False)


def in_order(wildcards, text, index):
    return wildcards.resolved(text, Random(0), index, in_order=True)


def test_a_seed_draws_these_words():
    assert drawn(Wildcards(), "__color__ __animal__", seed=12345) == "silver Tiger"


def test_in_order_a_pictures_index_counts_the_words():
    assert in_order(Wildcards(), "__color__ __animal__", 1) == "black Ant"


def test_in_order_the_words_begin_again(folder):
    words = [in_order(Wildcards([folder]), "__fruit__", index) for index in range(4)]
    assert words == ["apple", "plum", "fig ", "apple"]


@pytest.mark.parametrize(
    ("name", "count"), [("animal", 100), ("color", 17), ("color_flower", 1), ("nationality", 195), ("flower", 100)]
)
def test_word_lists_come_with_the_package(name, count):
    words = Wildcards().words(name)
    assert len(words) >= count and len(set(words)) == len(words)


def test_every_shipped_list_resolves_whole():
    wildcards = Wildcards()
    assert {"artist", "extended-color", *["animal", "color", "color_flower", "flower", "nationality"]} == set(
        wildcards.names()
    )
    for name in wildcards.names():
        assert "__" not in drawn(wildcards, f"__{name}__")


def test_words_may_hold_placeholders(folder):
    assert in_order(Wildcards([folder]), "__basket__", 0) == "a basket of apple"


def test_each_placeholder_draws_a_word_of_its_own(folder):
    random = Random(3)
    expected = " ".join(random.choice(["apple", "plum", "fig "]) for _ in range(5))
    assert drawn(Wildcards([folder]), " ".join(["__fruit__"] * 5), seed=3) == expected


def test_a_name_without_words_stays_as_the_bare_name(folder):
    assert drawn(Wildcards([folder]), "__nobody__ and __nobody__, __none__") == "nobody and nobody, none"
    missing = []
    Wildcards([folder]).resolved("__fruit__, __nobody__", Random(1), 0, False, missing.append)
    assert missing == ["nobody"]


def test_a_name_without_words_draws_nothing(folder):
    assert drawn(Wildcards([folder]), "__nobody__ __fruit__", 3) == "nobody " + Random(3).choice(
        ["apple", "plum", "fig "]
    )


def test_two_placeholders_need_something_between_them(folder):
    assert drawn(Wildcards([folder]), "__color____fruit__") == "color____fruit"


def test_a_users_list_wins_over_the_shipped_one(folder):
    assert drawn(Wildcards([folder]), "__color__") == "mauve"


def test_a_list_in_a_sub_folder_comes_before_its_parents(folder):
    assert drawn(Wildcards([folder]), "__both__") == "child"


def test_names_are_case_sensitive(folder):
    assert drawn(Wildcards([folder]), "__Fruit__") == "Fruit"


def test_words_that_name_themselves_come_to_an_end(folder):
    assert LONGEST < len(drawn(Wildcards([folder]), "__echo__")) < 3 * LONGEST


def test_a_missing_folder_holds_no_lists(tmp_path):
    assert Wildcards([tmp_path / "nowhere"]).words("color")[0] == "aqua"


def test_arrays_give_every_combination_the_first_fastest():
    texts = [with_array_items("[[red, green]] [[a,b]]", index) for index in range(5)]
    assert texts == ["red a", " green a", "red b", " green b", "red a"]


def test_equal_arrays_count_apart():
    assert [with_array_items("[[a,b]][[a,b]]", index) for index in range(4)] == ["aa", "ba", "ab", "bb"]


def test_a_text_without_arrays_stays():
    assert with_array_items("[a, b] c", 3) == "[a, b] c"


def test_brackets_that_are_never_closed_are_read_once():
    text = "[" * 400_000
    with processor_time(2):
        assert with_array_items(text, 3) == text


@pytest.mark.parametrize(("name", "word"), [("bom", "beta"), ("crlf", "gamma"), ("utf16", "delta")])
def test_words_are_read_in_whatever_form_an_editor_saved_them(name, word):
    assert Wildcards([DATA]).words(name) == [word]
