"""Comments and docstrings cite documents that are in the repository, by their path."""

import io
import re
import subprocess
import tokenize

import pytest

from tests.serving import ROOT

DOCUMENT = re.compile(r"(?<![\w.}/-])\w[\w./-]*\.md\b")
SECTION = re.compile(r"\.md,? (?:section|chapter|§)")


def tracked() -> list[str]:
    """The Python modules of the repository."""
    found = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True)
    return found.stdout.splitlines()


def words(path: str) -> str:
    """The comments and texts of a module."""
    tokens = tokenize.generate_tokens(io.StringIO((ROOT / path).read_text("utf-8")).readline)
    kinds = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", None))
    return "\n".join(token.string for token in tokens if token.type in kinds)


@pytest.fixture(scope="module")
def texts():
    return {path: words(path) for path in tracked()}


def test_every_document_that_a_module_cites_is_in_the_repository(texts):
    cited = {(path, name) for path, text in texts.items() for name in DOCUMENT.findall(text)}
    assert cited
    beside = {(path, name) for path, name in cited if ((ROOT / path).parent / name).is_file()}
    assert {(path, name) for path, name in cited - beside if not (ROOT / name).is_file()} == set()


def test_no_module_cites_a_document_by_a_section_s_number(texts):
    assert [path for path, text in texts.items() if SECTION.search(text)] == []
