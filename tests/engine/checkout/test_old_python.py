"""The engine over a checkout runs in that checkout's Python, which may be 3.10 and has none of our packages."""

import ast
import sys

from tests.test_import_order import MODULES, outside, reached

OF_EVERY_FOOOCUS = {"numpy", "PIL"}
NOT_AT_ITS_START = {"torch", "engine"}
"""What other modules import inside functions that a checkout's engine does not call."""


def modules():
    return reached({name for name in MODULES if name.startswith("engine.checkout")})


def test_python_3_10_reads_all_of_it():
    for name in modules():
        ast.parse(MODULES[name].read_text("utf-8"), feature_version=(3, 10))


def test_it_needs_the_standard_library_and_what_every_fooocus_has():
    known = sys.stdlib_module_names | OF_EVERY_FOOOCUS | NOT_AT_ITS_START
    needed = {(name, other) for name in modules() for other in outside(MODULES[name])}
    assert sorted((name, other) for name, other in needed if other.split(".")[0] not in known) == []
