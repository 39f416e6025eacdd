"""The driver of the fleet: `python -m engine.fleet FD --address HEAD:6379`, a process of its own without gevent.

It speaks frames of `engine.fleet.frames` on the inherited socket FD and ends at once when the other side is gone; Ray
then ends its cards. The other arguments are those of an engine process, and go to each card.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import os
import signal
import socket
import sys
from threading import Thread

import ray

from engine.fleet import frames
from engine.fleet.driver import Driver
from engine.process import startup, wire
from engine.process.channel import Channel
from engine.process.log_context import set_up_logging

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
"""Seconds that Ray's head has to answer at all."""


def parse(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The command line, and what of it goes to the cards."""
    parser = argparse.ArgumentParser(prog="engine.fleet", description="The driver of fooocus-flask's fleet.")
    parser.add_argument("fd", type=int, help="the inherited socket to the web process")
    parser.add_argument("--address", required=True, help="where Ray's head listens")
    parser.add_argument("--environment", type=json.loads, default={}, help="variables for the cards, as JSON")
    arguments, rest = parser.parse_known_args(words)
    return argparse.Namespace(**{**vars(startup.parse(["0", *rest])), **vars(arguments)}), rest


def connect(address: str) -> None:
    """Join the cluster, or end the process with what would help."""
    host, _, port = address.rpartition(":")
    try:
        if host:  # Ray itself asks for a minute, and in other words
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        ray.init(address=address, namespace="fooocus-flask", logging_level=logging.WARNING, configure_logging=False)
    except Exception as error:
        log.error("Ray cannot be reached at %s: %s", address, " ".join(str(error).split()))
        log.error(
            "The head is to run there, and this machine is to be in its cluster: `ray start --address=%s`, with "
            "`--num-gpus=0` if it shall not draw, and of the same versions of Python and Ray",
            address,
        )
        os._exit(1)


def main() -> None:
    """Serve until the web process is gone."""
    arguments, words = parse(sys.argv[1:])
    faulthandler.enable()
    set_up_logging("fleet")
    for number in (signal.SIGINT, signal.SIGTERM):  # the web process ends at these and closes the socket
        signal.signal(number, signal.SIG_IGN)
    channel = Channel(arguments.fd)
    connect(arguments.address)
    driver = Driver(channel, arguments, words)
    Thread(target=driver.watch, name="watch", daemon=True).start()
    while True:
        try:
            frame = wire.read(channel.stream)
        except (EOFError, OSError):
            os._exit(0)
        driver.obey(*frames.unpack(*frame))


if __name__ == "__main__":
    main()
