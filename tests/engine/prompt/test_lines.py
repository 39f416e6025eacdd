"""Cleaning a prompt and cutting it into lines."""

import pytest

from engine.prompt.lines import cleaned, prompt_lines, with_additional


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a   cat", "a cat"),
        (" ,. a cat, .\r\n", "a cat"),
        (", . ,", ""),
        ("a, cat. b", "a, cat. b"),
        ("a\tcat", "a\tcat"),
    ],
)
def test_a_line_loses_what_says_nothing(line, expected):
    assert cleaned(line) == expected


def test_a_prompt_is_its_lines_that_hold_something():
    assert prompt_lines("one,\n\n  two\r\n.\nthree") == ["one", "two", "three"]


def test_every_line_separator_of_unicode_separates():
    assert prompt_lines("a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g") == list("abcdefg")


def test_an_empty_prompt_is_one_empty_line():
    assert prompt_lines("") == prompt_lines(" \n,.\n") == [""]


def test_the_additional_prompt_becomes_the_first_line():
    assert prompt_lines(with_additional("a room\nwith light", "a vase")) == ["a vase", "a room", "with light"]
    assert with_additional("", "a vase") == "a vase"
    assert with_additional("a room", "") == "a room"
