"""`python -m benchmarks.simulated_card FD`: speaks as an engine process does, at a card's pace, and draws nothing.

For `benchmarks.many_cards` and `benchmarks.downloads`. Every preview is the file PREVIEW, and every picture the file
PICTURE.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from engine import messages
from engine.process import wire
from engine.process.channel import Channel

STEPS = 30
BEAT = 5.0


class Card(Thread):
    """Takes as long for each task as a card would: `step` seconds a step, and `around` seconds for the rest."""

    def __init__(self, channel: Channel, preview: Path, picture: Path, step: float, around: float) -> None:
        super().__init__(daemon=True)
        self.tasks: SimpleQueue[messages.Draw] = SimpleQueue()
        self._channel, self._file, self._preview = channel, picture, preview.read_bytes()
        self._step, self._around = step, around

    def run(self) -> None:
        """Tell of one task after another, for ever."""
        while True:
            self._draw(self.tasks.get())

    def _draw(self, task: messages.Draw) -> None:
        begun, share = time.monotonic(), 100 / (STEPS + 1)
        for step in range(1, STEPS + 1):
            time.sleep(max(0.0, begun + step * self._step - time.monotonic()))  # a busy machine delays no later step
            words = f"Sampling step {step}/{STEPS}, image 1/1 ..."
            self._channel.send(messages.Progressed(task.task_id, int(step * share), words, self._preview, step, STEPS))
        time.sleep(max(0.0, begun + STEPS * self._step + self._around - time.monotonic()))
        place = Path(task.outputs[0])
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._file, place)
        self._channel.send(messages.PictureDone(task.task_id, 0, str(place), 7, 1152, 896, 12))
        self._channel.send(messages.Ended(task.task_id, "finished", seconds={"sampling": STEPS * self._step}))


def beat(channel: Channel) -> None:
    """Give signs of life."""
    while True:
        channel.send(messages.Beat([], 0.0, 3 << 30, 10 << 30))
        time.sleep(BEAT)


def main() -> None:
    """Serve until the web process is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fd", type=int)
    parser.add_argument("preview", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("step", type=float, help="seconds a step takes")
    parser.add_argument("around", type=float, help="seconds that a task takes besides")
    args = parser.parse_args()
    channel = Channel(args.fd)
    card = Card(channel, args.preview, args.picture, args.step, args.around)
    card.start()
    channel.send(messages.Ready("a simulated card", "none"))
    Thread(target=beat, args=(channel,), daemon=True).start()
    try:
        while True:
            message = messages.from_wire(*wire.read(channel.stream))
            if isinstance(message, messages.Draw):
                card.tasks.put(message)
    except (EOFError, OSError):
        return


if __name__ == "__main__":
    main()
