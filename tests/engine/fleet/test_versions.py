"""A card whose machine does not fit the head is told, with what would help."""

import pytest

from engine.fleet.versions import CardInfo, differences
from engine.messages import Ready


@pytest.mark.parametrize(
    ("python", "ray", "told"),
    [
        ("3.12.4", "2.60.0", ""),
        ("3.12.5", "2.60.0", "the machine far has Python 3.12.5, and the head Python 3.12.4: install the same on both"),
        ("3.12.4", "2.59.0", "the machine far has Ray 2.59.0, and the head Ray 2.60.0: install the same on both"),
    ],
)
def test_another_version_is_told(python, ray, told):
    assert differences(CardInfo("far", python, ray, Ready("CPU", "2.13"), 1), "3.12.4", "2.60.0") == told
