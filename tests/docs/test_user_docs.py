"""What users read names what there is, in both languages."""

import re

import pytest

from fooocus_flask import settings
from tests.serving import ROOT

PAGES = ("README", "CONTRIBUTING", "SECURITY")
PAGES += tuple(
    f"docs/{page}"
    for page in ("api", "architecture", "builtin-model", "configuration", "deployment", "fooocus", "page", "scaling")
)
PAIRS = [(f"{page}.md", f"{page}.zh-CN.md") for page in PAGES]


def commands(page: str) -> list[str]:
    """The shell commands of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("page", ["docs/configuration.md", "docs/configuration.zh-CN.md"])
def test_every_setting_has_its_line(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    missing = [name for name in vars(settings) if name.isupper() and f"| `{name}` |" not in text]
    assert missing == []


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_both_languages_give_the_same_commands(english, chinese):
    assert commands(english) == commands(chinese)


@pytest.mark.parametrize("page", [page for pair in PAIRS for page in pair])
def test_every_link_into_the_project_leads_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
