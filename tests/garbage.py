"""Looking for garbage in a process of the tests: seldom, and never among what was there when it was last settled."""

import gc

OBJECTS_A_SEARCH = 20_000
"""New objects after which garbage is looked for: tests make much that is gone at once, and hold little for long."""


def settle() -> None:
    """Leave out what is there now. To go through it takes a third of a second.

    The server's own `settle` does nearly the same, but half a second of imports come with it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_A_SEARCH)
    gc.enable()
