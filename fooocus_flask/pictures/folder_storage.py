"""Pictures that are kept in the folders of this machine: the form of a storage that has nothing to do.

A picture is called by its path: `outputs/2024-07-05/cat.png`, `inputs/HASH.png`; in a bucket it has the same name below
the prefix, so that a folder can be moved there and back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from fooocus_flask.errors import FooocusError

OUTPUTS, INPUTS = "outputs", "inputs"
RETRY_AFTER = 10
"""Seconds after which clients are told to come back while the bucket does not answer."""


class StorageFault(FooocusError):
    """The bucket did not do what it was asked; `refused` if asking again would not help."""

    status = 503

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        self.reason, self.refused = reason, refused
        super().__init__(
            f"The object storage does not work ({reason}); send the request again later",
            headers={"Retry-After": str(RETRY_AFTER)},
        )


class Storage:
    """The folders of this machine: whatever lies there is kept, and nothing else is to do."""

    remote = False
    """Whether pictures are kept elsewhere too."""

    @property
    def ready(self) -> bool:
        """Whether it has answered since the start."""
        return True

    def start(self) -> None:
        """See whether pictures can be kept.

        Raises:
            StartError: they never could, as things are configured.
        """

    def close(self) -> None:
        """End what `start` began."""

    def put(self, path: str) -> None:
        """Keep a picture that lies complete on this machine.

        Raises:
            StorageFault: it is not kept.
            OSError: it does not lie there.
        """

    def ensure(self, path: str) -> bool:
        """The same, unless it is kept already; whether it was not."""
        return False

    def fetch(self, path: str) -> bool:
        """Have the picture on this machine, if it is kept anywhere; whether it had to come.

        Raises:
            StorageFault: it may be kept, and cannot be had.
        """
        return False

    def link(self, path: str, media_type: str) -> tuple[str, int] | None:
        """A URL by which a client can load the picture elsewhere, and for how many seconds; None: from here."""
        return None

    def here(self) -> list[str]:
        """The pictures that lie on this machine; takes its time."""
        return []

    def stored(self) -> Iterator[str]:
        """The pictures that are kept elsewhere."""
        yield from ()

    def delete(self, path: str) -> None:
        """Keep a picture no longer that was deleted on this machine.

        Raises:
            StorageFault: it is still kept.
        """

    def trim(self, needed: Collection[str]) -> int:
        """Delete copies that are too many, but for these paths; how many."""
        return 0
