"""An engine process's life: it speaks to the web process until that is gone, then ends at once."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Callable

from engine.heartbeat import Heartbeat
from engine.messages import Message
from engine.process.channel import Channel
from engine.process.commands import TaskThread, obey
from engine.process.log_context import LogContext, set_up_logging
from engine.process.pulse import Pulse


def serve(
    fd: int, beat: float, make_thread: Callable[[Callable[[Message], None], Heartbeat, LogContext], TaskThread]
) -> None:
    """Have a thread draw what the web process asks for over the inherited socket `fd`, and tell every `beat` seconds
    that it lives; this does not return."""
    faulthandler.enable()  # a crash in a library of C would end the process without a word
    log_context = set_up_logging("engine")
    for number in (signal.SIGINT, signal.SIGTERM):  # the web process ends at these and closes the socket
        signal.signal(number, signal.SIG_IGN)
    channel, heartbeat = Channel(fd), Heartbeat()
    thread = make_thread(channel.send, heartbeat, log_context)
    thread.start()
    Pulse(channel.send, beat, heartbeat).start()
    obey(channel.stream, thread)
    os._exit(0)
