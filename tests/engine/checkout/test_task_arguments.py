"""What a version of Fooocus makes its tasks of, read off the source of the class."""

import ast

import pytest

from engine.checkout.members import foreign, lacking
from engine.checkout.task_arguments import UnreadableTask, page_defaults, read_task_arguments

SOURCE = """
class AsyncTask:
    def __init__(self, args):
        from modules.config import number
        self.args = args.copy()
        args.reverse()
        self.prompt = args.pop()
        self.seed = int(args.pop())
        self.loras = enabled([(bool(args.pop()), str(args.pop()), float(args.pop())) for _ in range(number)])
        self.kept = args.pop() if not options.disable_log else False
        for _ in range(config.images):
            cn_img = args.pop()
            cn_stop = args.pop()
        if options.enhance:
            self.enhance_checkbox = args.pop()
"""
VALUES = {"number": 2, "config.images": 2, "not options.disable_log": True, "options.enhance": False}


def order(source, values=VALUES):
    return list(read_task_arguments(source).in_order(lambda expression: values[ast.unparse(expression)]))


def test_arguments_come_in_the_order_in_which_they_are_taken():
    taken = ["prompt", "seed", *["loras"] * 6, "kept", "cn_img", "cn_stop", "cn_img", "cn_stop"]
    assert order(SOURCE) == taken


def test_an_argument_that_is_not_taken_is_not_given():
    assert "kept" not in order(SOURCE, VALUES | {"not options.disable_log": False})


def test_all_that_may_be_taken_have_names():
    names = read_task_arguments(SOURCE).names
    assert names == {"prompt", "seed", "loras", "kept", "cn_img", "cn_stop", "enhance_checkbox"}


def test_what_no_request_has_is_foreign_and_what_a_version_has_not_is_lacking():
    names = read_task_arguments(SOURCE).names
    assert foreign(names) == ["kept"]
    assert {"sharpness", "enhance_ctrls"} <= lacking(names)
    assert not {"prompt", "image_seed", "loras", "controlnet_image", "preset"} & lacking(names)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("class Task: pass", "no class AsyncTask"),
        ("class AsyncTask:\n  def __init__(self, args):\n    self.args = args", "Fooocus before 2.5"),
        (
            "class AsyncTask:\n  def __init__(self, args):\n    while args: args.pop()",
            "line 3 takes arguments in a way",
        ),
        ("class AsyncTask:\n  def __init__(self, args):\n    for a in b: self.c = args.pop()", "not a number of times"),
        ("class AsyncTask:\n  def __init__(self, args):\n    self.c = d and args.pop()", "c is made of arguments"),
        ("class AsyncTask:\n  def __init__(self, args:", "is no Python"),
    ],
)
def test_another_way_of_taking_them_is_told(source, why):
    with pytest.raises(UnreadableTask, match=why):
        read_task_arguments(source)


def test_a_page_says_what_its_controls_hold():
    page = "a = gr.Checkbox(label='A', value=False)\nb = gr.Slider(value=config.b)\nc = gr.Button()\n"
    assert {name: ast.unparse(value) for name, value in page_defaults(page).items()} == {"a": "False", "b": "config.b"}
