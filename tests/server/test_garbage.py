"""Looking for garbage takes a server little time."""

import gc

from fooocus_flask.server import garbage


def test_what_is_there_for_good_is_looked_through_no_more():
    kept = [[] for _ in range(10_000)]
    looked_through = len(gc.get_objects())
    garbage.settle()
    assert len(gc.get_objects()) < looked_through - len(kept)
