"""Every figure that a machine without a graphics card can give: `make bench`."""

from __future__ import annotations

import statistics

from benchmarks import service
from benchmarks.service import request, serving, timed
from tests.serving import GENERATE

SIZES = ("512*512", "1152*896")
TIMES = 3


def main() -> None:
    """Print the service's figures, then how long pictures take."""
    args = service.arguments()
    service.main(args)
    with serving(args.models.resolve(), args.threads) as server:
        server.ready().ask("POST", GENERATE, request(args.model))
        for size in SIZES:
            body = request(args.model, size, 0)
            seconds = [timed(lambda body=body: server.ask("POST", GENERATE, body)) / 1e3 for _ in range(TIMES)]
            print(f"{'a picture of ' + size.replace('*', '×') + ', 30 steps':52} {statistics.median(seconds):7.1f} s")


main()
