"""What contributors read names what there is: files, commands, tests, and the packages in their order."""

import re
import shlex

import pytest

from tests.serving import ROOT
from tests.test_import_order import APPLICATION, ENGINE

PAGES = ["CONTRIBUTING.md", "CONTRIBUTING.zh-CN.md", "SECURITY.md", "SECURITY.zh-CN.md"]
PAGES += ["docs/architecture.md", "docs/architecture.zh-CN.md"]
RECIPES = 6
WHOLE = re.compile(r"(?:\w[\w.-]*/)+[\w.-]*")
"""A path of the project, in a page: with a slash in it."""

each_page = pytest.mark.parametrize("page", PAGES)


def text_of(page):
    return (ROOT / page).read_text("utf-8")


def code_of(text):
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def places():
    """Folders from which a page may name a path."""
    return ("", "fooocus_flask", "engine")


@each_page
def test_every_path_is_there(page):
    paths = {code for code in code_of(text_of(page)) if WHOLE.fullmatch(code) and not code.startswith(("v1/", "bin/"))}
    assert paths and {path for path in paths if not any((ROOT / base / path).exists() for base in places())} == set()


@each_page
def test_every_named_test_is_there(page):
    tests = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert {code for code in code_of(text_of(page)) if re.fullmatch(r"test_\w+", code)} <= tests


@each_page
def test_every_make_target_is_there(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text_of(page), re.DOTALL))
    commands = [
        shlex.split(line) for line in [*code_of(text_of(page)), *blocks.splitlines()] if line.startswith("make ")
    ]
    assert {command[1] for command in commands} <= targets


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CONTRIBUTING.zh-CN.md"])
def test_every_make_target_for_people_is_explained(page):
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1).split()
    assert [target for target in phony if f"`make {target}`" not in text_of(page) and target != "install"] == []


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/architecture.zh-CN.md"])
@pytest.mark.parametrize("packages", [APPLICATION, ENGINE], ids=["fooocus_flask", "engine"])
def test_the_tables_have_the_packages_in_the_order_of_their_imports(page, packages):
    rows = re.findall(r"^\| `(\w+)` \|", text_of(page), re.MULTILINE)
    assert [row for row in rows if row in packages] == list(packages)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CONTRIBUTING.zh-CN.md"])
def test_every_recipe_names_files_and_a_test(page):
    recipes = re.findall(r"^### .+\n((?:(?!#).*\n?)*)", text_of(page), re.MULTILINE)
    assert len(recipes) == RECIPES
    for recipe in recipes:
        assert len([code for code in code_of(recipe) if WHOLE.fullmatch(code)]) >= 4
        assert any(code.startswith("tests/") for code in code_of(recipe))


def test_the_engine_s_messages_are_all_told():
    kinds = set(re.findall(r"^class (\w+)\(Message\)", text_of("engine/messages.py"), re.MULTILINE))
    for page in ("docs/architecture.md", "docs/architecture.zh-CN.md"):
        assert kinds <= set(code_of(text_of(page)))
