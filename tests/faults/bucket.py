"""Rounds of faults while pictures lie in a bucket: it is killed as well, and it alone must have what was finished."""

from __future__ import annotations

import io
import random
import shutil
from pathlib import Path
from time import sleep

from PIL import Image

from tests.faults.rounds import BrokenPromise, Round
from tests.gateway import BUCKET, Gateway
from tests.serving import Server

BUCKET_VICTIM = "bucket"
AWAY = 2.0
"""Seconds for which a bucket that was killed is away, at most."""


class BucketServer(Server):
    """A server whose pictures lie in the bucket of `gateway`."""

    gateway: Gateway


class BucketRound(Round):
    """One round with such a server; the victim may be the bucket."""

    server: BucketServer

    def hurt(self, victim: str, state: str) -> None:
        """Kill the victim while a task is in this state; one that is dead is started again."""
        if victim != BUCKET_VICTIM:
            super().hurt(victim, state)
            return
        if state == "webhook due":
            self.owe()
        else:
            self.reach(state)
        self.server.gateway.stop()
        self.accepted.append(self.server.submit())
        sleep(random.uniform(0, AWAY))
        self.server.gateway.start()

    def check(self) -> None:
        """As always, and from the bucket alone; whatever is there is a whole picture.

        Raises:
            BrokenPromise: not so.
        """
        for task_id in self.accepted:
            self.outcome(task_id)
        shutil.rmtree(Path(self.server.instance) / "outputs", ignore_errors=True)
        super().check()
        gateway = self.server.gateway
        for name in gateway.names():
            data = gateway.client().get_object(Bucket=BUCKET, Key=name)["Body"].read()
            try:
                Image.open(io.BytesIO(data)).load()
            except OSError as error:
                raise BrokenPromise(f"the object {name} is no whole picture: {error}") from error
            gateway.client().delete_object(Bucket=BUCKET, Key=name)  # the next round's are looked at alone
