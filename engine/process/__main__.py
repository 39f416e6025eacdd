"""The engine process: `python -m engine.process FD`. Its main thread reads commands, its GPU thread draws.

It speaks frames of `engine.process.wire` on the inherited socket FD and ends at once when the other side is gone.
Standard output and error are logs. gevent never enters this process.
"""

from __future__ import annotations

from engine.process.gpu_thread import GpuThread
from engine.process.serving import serve
from engine.process.startup import parse, pipeline_maker


def main() -> None:
    """Serve until the web process is gone."""
    arguments = parse()
    serve(
        arguments.fd,
        arguments.beat,
        lambda send, heartbeat, log_context: GpuThread(
            pipeline_maker(arguments, heartbeat), send, heartbeat, log_context, arguments.preload
        ),
    )


if __name__ == "__main__":
    main()
