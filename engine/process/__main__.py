"""The engine process: `python -m engine.process FD`. Its main thread reads commands, its GPU thread draws.

It speaks frames of `engine.process.wire` on the inherited socket FD and ends at once when the other side is gone.
Standard output and error are logs. gevent never enters this process.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal

from engine.heartbeat import Heartbeat
from engine.process.channel import Channel
from engine.process.commands import obey
from engine.process.gpu_thread import GpuThread
from engine.process.log_context import set_up_logging
from engine.process.pulse import Pulse
from engine.process.startup import parse, pipeline_maker

log = logging.getLogger(__name__)


def main() -> None:
    """Serve until the web process is gone."""
    arguments = parse()
    faulthandler.enable()  # a crash in a library of C would end the process without a word
    log_context = set_up_logging("engine")
    for number in (signal.SIGINT, signal.SIGTERM):  # the web process ends at these and closes the socket
        signal.signal(number, signal.SIG_IGN)
    channel, heartbeat = Channel(arguments.fd), Heartbeat()
    gpu = GpuThread(pipeline_maker(arguments, heartbeat), channel.send, heartbeat, log_context, arguments.preload)
    gpu.start()
    Pulse(channel.send, arguments.beat, heartbeat).start()
    obey(channel.stream, gpu)
    os._exit(0)


if __name__ == "__main__":
    main()
