"""What a newcomer and a type checker find at the top of each of the project's packages."""

import pytest

from tests.serving import ROOT
from tests.test_import_order import TOPS

MOST_MODULES = 15
"""Beside `__init__.py`: as many as are read at a glance."""


@pytest.mark.parametrize("top", TOPS)
def test_a_package_has_few_modules_at_its_top(top):
    assert len({path.stem for path in (ROOT / top).glob("*.py")} - {"__init__"}) <= MOST_MODULES


@pytest.mark.parametrize("top", TOPS)
def test_a_package_says_that_it_has_types_also_where_it_is_installed(top):
    assert (ROOT / top / "py.typed").exists()
    assert f'"{top}": ["py.typed"' in (ROOT / "setup.py").read_text("utf-8")
