"""Looking for garbage takes a server little time."""

import gc

from fooocus_flask.server import garbage


def test_what_is_there_for_good_is_looked_through_no_more():
    kept = [[] for _ in range(10_000)]
    looked_through = len(gc.get_objects())
    garbage.settle()
    assert len(gc.get_objects()) < looked_through - len(kept)


def test_garbage_is_looked_for_once_all_is_there():
    """Until then `wsgi.py` has put it off."""
    gc.disable()
    try:
        garbage.settle()
        assert gc.isenabled()
    finally:
        gc.enable()
