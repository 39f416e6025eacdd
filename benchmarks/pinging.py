"""`python -m benchmarks.pinging PORT`: ask for `/ping` until standard input ends; prints the milliseconds of each.

A process of its own, so that no other client's work is in the figures.
"""

from __future__ import annotations

import http.client
import select
import sys
import time

PAUSE = 0.05


def main() -> None:
    """Ask over one kept connection."""
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        begun = time.perf_counter()
        connection.request("GET", "/ping")
        connection.getresponse().read()
        print((time.perf_counter() - begun) * 1e3)


main()
