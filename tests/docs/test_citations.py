"""The documents that files of the repository cite are in it, and are cited by their path."""

import io
import re
import subprocess
import tokenize

import pytest

from tests.serving import ROOT

DOCUMENT = re.compile(r"(?<![\w.}/-])\w[\w./-]*\.md\b")
SECTION = re.compile(r"\.md,? (?:section|chapter|§)")


def tracked() -> list[str]:
    """The files of the repository."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]  # the checkout may be another user's
    found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [path for path in found.stdout.split("\0") if (ROOT / path).is_file()]


def words(path: str) -> str:
    """What people read in a file: of a module its comments and texts, of a binary file nothing."""
    data = (ROOT / path).read_bytes()
    if b"\0" in data:
        return ""
    if not path.endswith(".py"):
        return data.decode("utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(data.decode("utf-8")).readline)
    kinds = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", None))
    return "\n".join(token.string for token in tokens if token.type in kinds)


@pytest.fixture(scope="module")
def texts():
    return {path: words(path) for path in tracked()}


def test_every_document_that_a_file_cites_is_in_the_repository(texts):
    cited = {(path, name) for path, text in texts.items() for name in DOCUMENT.findall(text)}
    assert ("README.md", "docs/api.md") in cited
    beside = {(path, name) for path, name in cited if ((ROOT / path).parent / name).is_file()}
    assert {(path, name) for path, name in cited - beside if not (ROOT / name).is_file()} == set()


def test_no_file_cites_a_document_by_a_section_s_number(texts):
    assert [path for path, text in texts.items() if SECTION.search(text)] == []
