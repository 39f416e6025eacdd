"""Parentheses as weights."""

import pytest

from engine.prompt.emphasis import weighted


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
