"""LoRAs named inside a prompt."""

import pytest

from engine.prompt.lora_tags import all_loras, over_the_limit, tag_names, tagged_loras, take_tags
from tests.toy import toy_params

FILES = ["sub/foo.safetensors", "bar.safetensors"]


@pytest.mark.parametrize(
    ("line", "text", "found"),
    [
        ("x <lora:foo:0.5> y, z", "x y, z", [("sub/foo.safetensors", 0.5)]),
        ("<lora:foo:.5><lora:bar:-1.6> cat", "cat", [("sub/foo.safetensors", 0.5), ("bar.safetensors", -1.6)]),
        ("<lora:foo:1e2> k", "<lora:foo:1e2> k", []),
        ("a,,b ,  c  d", "a, b, c d", []),
        ("(a,b:1.2)", "(a, b:1.2)", []),
        ("<lora:Foo:1> k", "k", []),
        ("<lora:nobody:1> k", "k", []),
        ("<lora:foo:1.> <lora:foo:+1> k", "k", [("sub/foo.safetensors", 1.0)]),
        ("<lora:foo:1> <lora:foo:2> k", "k", [("sub/foo.safetensors", 1.0), ("sub/foo.safetensors", 2.0)]),
        ("<lora:fo,o:1> k", "<lora:fo, o:1> k", []),
        ("<lora:foo:0.5>", "", [("sub/foo.safetensors", 0.5)]),
    ],
)
def test_a_line_gives_up_its_tags(line, text, found):
    assert take_tags(line, FILES, enabled={"ui"}) == (text, found)


def test_a_file_the_request_already_names_is_not_taken_twice():
    assert take_tags("<lora:foo:1> k", FILES, enabled={"sub/foo.safetensors"}) == ("k", [])


def test_of_two_files_of_one_stem_the_first_is_meant():
    assert take_tags("<lora:a:1>", ["x/a.safetensors", "a.pth"])[1] == [("x/a.safetensors", 1.0)]


def test_tags_join_the_requests_loras_up_to_the_limit():
    assert all_loras([("ui", 0.1)], [("sub/foo.safetensors", 0.5)]) == [("ui", 0.1), ("sub/foo.safetensors", 0.5)]
    many = [(str(i), 1.0) for i in range(7)]
    assert all_loras(many[:4], many[4:]) == many[:5]


def test_empty_slots_take_no_place_from_tags():
    slots = [("None", 1.0)] * 5
    assert all_loras(slots, [("tagged", 1.0)]) == [("tagged", 1.0)]
    assert all_loras([("second", 1.0), *slots[1:]], [("tagged", 1.0)]) == [("second", 1.0), ("tagged", 1.0)]
    assert all_loras(slots, []) == over_the_limit(slots, [("tagged", 1.0)]) == []


def test_what_exceeds_the_limit_is_known_by_name():
    many = [(str(i), 1.0) for i in range(7)]
    assert over_the_limit([("None", 1.0), *many[:4]], many[4:]) == many[5:]
    assert over_the_limit(many, []) == []


def test_without_tags_nothing_is_cut():
    many = [(str(i), 1.0) for i in range(7)]
    assert all_loras(many, []) == many


def test_the_names_in_a_line_are_those_of_its_tags_each_once():
    assert tag_names("<lora:foo:1>, a cat <lora:b c:.5> <lora:foo:2> <lora:x:1e2>") == ["foo", "b c"]


def test_the_first_lines_of_a_requests_prompts_name_loras():
    prompt = {"prompt": "cat <lora:foo:1>\nbeside <lora:bar:1>"}
    assert tagged_loras(toy_params(**prompt)) == ["foo"]
    painted = {"inpaint_input_image": "/inputs/i.png", "inpaint_additional_prompt": "hat <lora:hat:1>"}
    assert tagged_loras(toy_params(**prompt, **painted)) == ["hat"]
