"""Parentheses as weights."""

import pytest

from engine.prompt.emphasis import weighted
from tests.processor_time import processor_time


@pytest.mark.parametrize(
    ("text", "leaves"),
    [
        ("a ((b)) c", [("a ", 1), ("b", 1.21), (" c", 1)]),
        ("(a (b:1.5) c:0.8)", [("a ", 0.8), ("b", 1.5), (" c", 0.8)]),
        ("((a):1.5)", [("a", 1.65)]),
        ("(a, (b), c:1.3)", [("a, ", 1.3), ("b", 1.43), (", c", 1.3)]),
        ("(a:1.2", [("(a:1.2", 1)]),
        ("a) (b", [("a) (b", 1)]),
        (r"\(a\) (b\):1.2)", [("(a) ", 1), ("b)", 1.2)]),
        ("(embedding:foo)", [("embedding:foo", 1.1)]),
        ("(embedding:foo:1.2)", [("embedding:foo", 1.2)]),
        ("(embedding:123)", [("embedding", 123)]),
        ("(:1.2)", [(":1.2", 1.1)]),
        ("()", []),
        ("", []),
        ("(a:-1)", [("a", -1)]),
        ("[a] BREAK | b", [("[a] BREAK | b", 1)]),
    ],
)
def test_a_text_has_these_weighted_pieces(text, leaves):
    assert weighted(text) == [(piece, pytest.approx(weight)) for piece, weight in leaves]


@pytest.mark.parametrize("number", ["nan", "inf", "-infinity"])
def test_a_weight_that_is_no_number_is_text(number):
    assert weighted(f"(a:{number})") == [(f"a:{number}", pytest.approx(1.1))]


def test_any_depth_of_parentheses_is_read():
    assert weighted("(" * 3000 + "a" + ")" * 3000)[0][0] == "a"


@pytest.mark.parametrize(
    ("opened", "closed"), [("(", ")"), ("(", ""), ("((", ")"), ("(a:1 ", ")"), (":(a", ")"), (")(", ""), ("", ")")]
)
def test_a_text_full_of_parentheses_is_read_in_linear_time(opened, closed):
    with processor_time(5.0):  # it takes a quarter of a second; reading it once for each depth, an hour
        assert weighted(opened * 100_000 + "a" + closed * 100_000)
