"""A card of the fleet as the driver sees it: an actor that draws one task at a time, in one process after another."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, Queue
from threading import Event as Flag
from threading import Thread
from time import monotonic, sleep
from typing import Any

import ray
from ray.exceptions import (
    ActorUnavailableError,
    ActorUnschedulableError,
    GetTimeoutError,
    ObjectLostError,
    RayActorError,
    RayError,
)

from engine.backoff import Backoff
from engine.fleet.card import READ_AT_ONCE
from engine.fleet.failures import cause, first_line, reason
from engine.fleet.file_receiver import receive
from engine.fleet.file_sender import FileSender
from engine.fleet.frames import BringFile, CardFiles, CardJoined, CardLeaving, CardLeft, CardLost, FileBrought
from engine.fleet.needed import HeadFiles, input_pictures
from engine.fleet.outlet import Event
from engine.fleet.versions import CardInfo, differences
from engine.images.picture_file import PictureFile, write_picture
from engine.interruption import Stopped
from engine.messages import Beat, Draw, Ended, Look, Message, Progressed, Seen

log = logging.getLogger(__name__)

Send = Callable[[str, Message], None]
"""Tells the web process something of the card of that name."""

LOOKS = 16
"""Looks at once; the web process lets no more wait."""
ASKED_AGAIN = 0.3
"""Seconds before a card is asked again that starts."""
FILES_EVERY = 30.0
"""Seconds after which a machine is asked again which model files it has."""
MUTE = 60.0
"""Seconds that a task's next event is waited for while the card draws nothing, until its process is ended."""
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
"""Seconds before an actor is made again that could not begin; doubled each time."""


@dataclass(frozen=True)
class Loss:
    """The process that told `info` was found to be gone, or not to be reached, while this was asked of it."""

    info: CardInfo
    asked: str
    error: RayError


class RemoteCard(Thread):
    """The card `name`, whose actor is made by `make_actor`; Ray restarts it wherever it once began.

    Its thread waits for tasks, has them drawn, and says when the card is lost. Files come from `head` by way of the
    machine's `sender`.
    """

    def __init__(
        self, name: str, make_actor: Callable[[], Any], head: HeadFiles, sender: FileSender, send: Send
    ) -> None:
        super().__init__(name=f"card {name}", daemon=True)
        self.actor, self._make_actor = make_actor(), make_actor
        self._head, self._sender, self._backoff = head, sender, Backoff(FIRST_DELAY, LONGEST_DELAY)
        self._card, self._send = name, send
        self._work: Queue[Draw | Loss | None] = Queue()
        self._info: CardInfo | None = None
        """What the process tells that takes tasks now."""
        self._joined = False
        self._leaving = Flag()
        self._why_left = ""
        self._stream: Iterator[Any] = iter(())
        self._waits_since: float | None = None
        """When the card's thread began to wait for its task's next event; None while it does not wait."""
        self._stopped: set[str] = set()
        self._followed: set[str] = set()
        self._coming: set[str] = set()
        """The paths on the head of files that come there from the card's machine."""
        self._beat: Any = None
        self._told = monotonic()
        self._looks = ThreadPoolExecutor(LOOKS, f"looks of {name}")

    # --- called by the driver

    def take(self, task: Draw) -> None:
        """Draw a task, after what is under way."""
        self._work.put(task)

    def stop(self, task_id: str) -> None:
        """End a task after its current step."""
        self._stopped.add(task_id)
        self.actor.stop.remote(task_id)

    def follow(self, task_id: str, followed: bool) -> None:
        """Send a task's previews, or send none."""
        (self._followed.add if followed else self._followed.discard)(task_id)
        self.actor.follow.remote(task_id, followed)

    def look(self, look: Look) -> None:
        """Look at a picture."""
        self._looks.submit(self._look, look)

    def bring(self, message: BringFile) -> None:
        """Copy a model file of the card's machine to the head, beside all else."""
        if message.target not in self._coming:
            self._coming.add(message.target)
            self._looks.submit(self._bring, message)

    def replace(self) -> None:
        """End the process, beside all else; Ray starts another."""
        Thread(target=partial(ray.kill, self.actor, no_restart=False), daemon=True).start()

    def leave(self, reason: str, *, at_once: bool) -> None:
        """Take no more tasks: the one under way may end, unless the machine is gone."""
        if not self._leaving.is_set():
            self._why_left = reason
            self._leaving.set()
            self._work.put(None)
            if not at_once and self._joined:
                self._send(self._card, CardLeaving())

    def pulse(self) -> None:
        """Hand on the last sign of life, and ask for the next one; takes no time."""
        info = self._info
        if info is None:
            return
        if monotonic() - self._told >= FILES_EVERY:
            self._told = monotonic()
            self._looks.submit(self._tell_again)
        if self._beat is not None:
            done, _ = ray.wait([self._beat], timeout=0)
            if not done:
                return
            try:
                beat: Beat = ray.get(self._beat)
            except RayError as error:
                self._lose(info, "a sign of life", error)
            else:
                self._send(self._card, beat)
                self._replace_if_mute(beat)
        self._beat = self.actor.beat.remote()

    def _replace_if_mute(self, beat: Beat) -> None:
        """End a process that draws nothing while its task's next event is waited for: what it told got lost on its way,
        and Ray does not always find out."""
        since = self._waits_since
        if since is None or beat.stages or monotonic() - since < MUTE:
            return
        self._waits_since = None
        log.warning(
            "The card %s draws nothing, and nothing was heard of its task for %.0f s: its process is ended",
            self._card,
            MUTE,
        )
        self.replace()

    # --- the card's thread

    def run(self) -> None:
        """Have the card draw, whatever happens to its processes, until it leaves."""
        while not self._leaving.is_set():
            try:
                self._live()
            except ConnectionError:  # the web process is gone
                return
            except Exception:  # a disk that does not answer, a bug: the card must outlive them
                log.exception("the card %s is begun with again in %.0f s", self._card, self._backoff.seconds)
                self._leaving.wait(self._backoff.seconds)
        ray.kill(self.actor)
        if self._joined:
            self._send(self._card, CardLeft(self._why_left))

    def _live(self) -> None:
        """See one process of the card from its start to its end."""
        try:
            info = self._await_process()
            if info is None:
                return
            if wrong := differences(info, platform.python_version(), ray.__version__):
                log.error("The card %s is not used: %s", self._card, wrong)
                self.leave(wrong, at_once=True)
                return
            if not self._joined:
                self._joined = True
                self._send(self._card, CardJoined(info.machine))
            self._beat, self._info = None, info
            self._backoff.reset()
            self._forget_work()
            self._tell_files()
            self._send(self._card, info.ready)
            self._attend(info)
        except (RayActorError, ActorUnschedulableError) as error:
            if self._info is None:
                self._make_again(error)
            else:
                log.warning(
                    "The card %s is given up until it answers again, and its task drawn again by whichever is free "
                    "first (%s). If that goes on, look at the machine %s and at the network to it",
                    self._card,
                    first_line(error),
                    self._sender.machine,
                )
        finally:
            ready, self._info = self._info is not None, None
            if ready and not self._leaving.is_set():
                self._send(self._card, CardLost("the card's process ended, or could not be reached"))

    def _forget_work(self) -> None:
        """Drop tasks that were meant for an earlier process: the web process has them drawn elsewhere."""
        with suppress(Empty):
            while self._work.get_nowait() is not None:
                pass
            self._work.put(None)  # the card is to leave

    def _await_process(self) -> CardInfo | None:
        """What the card's next process tells once it is ready; None if the card leaves before."""
        asked = self.actor.info.remote()
        while not self._leaving.is_set():
            try:
                info: CardInfo = ray.get(asked, timeout=ASKED_AGAIN)
                ray.get(self.actor.drop.remote())
                return info
            except GetTimeoutError:
                pass
            except ActorUnavailableError:
                sleep(ASKED_AGAIN)
                asked = self.actor.info.remote()
        return None

    def _make_again(self, error: RayError) -> None:
        """Make an actor in place of one that could not begin, after a while: its machine lacks something or is gone."""
        seconds = self._backoff.next()
        log.error("the card %s cannot begin, tried again in %.0f s: %s", self._card, seconds, str(error).strip())
        ray.kill(self.actor)
        if not self._leaving.wait(seconds):
            self.actor = self._make_actor()

    def _tell_files(self) -> None:
        """Tell which checkpoints the card's machine has, and which model files of its own."""
        asked = [self.actor.seem_here.remote(self._head.checkpoints()), self.actor.own_files.remote()]
        self._send(self._card, CardFiles(*ray.get(asked)))

    def _tell_again(self) -> None:
        """Tell what files there are now; a card that is gone is told by others."""
        with suppress(RayError, ConnectionError):
            self._tell_files()

    def _attend(self, info: CardInfo) -> None:
        """Have tasks drawn until the card leaves.

        Raises:
            RayActorError: its process is gone.
        """
        while (work := self._work.get()) is not None:
            if isinstance(work, Draw):
                self._draw(work)
            elif work.info is info:
                raise RayActorError(error_msg=f"asked for {work.asked}: {first_line(work.error)}")

    def _lose(self, info: CardInfo | None, asked: str, error: RayError) -> None:
        """Have the process given up that did not answer, unless it or another one has answered again since.

        Whoever waits for something of this card hears of that, and asks again, it or another one.
        """
        if info is not None:
            self._work.put(Loss(info, asked, error))

    def _draw(self, task: Draw) -> None:
        """Have a task drawn, and hand on its events."""
        try:
            for event in self._events(task):
                if isinstance(event, PictureFile):
                    write_picture(event)
                else:
                    self._send(self._card, event)
        except RayActorError:
            raise
        except Stopped:
            self._send(self._card, Ended(task.task_id, "stopped", notes=task.notes))
        except Exception as error:  # this thread must outlive its work
            log.exception("task %s failed", task.task_id)
            self.actor.stop.remote(task.task_id)
            self._waits_since = monotonic()
            list(self._stream)  # the card takes nothing else before it is rid of these events
            ended = Ended(task.task_id, "failed", reason(error), notes=task.notes, cause=cause(error))
            self._send(self._card, ended)
        finally:
            self._stream, self._waits_since = iter(()), None
            self._stopped.discard(task.task_id)
            self._followed.discard(task.task_id)

    def _events(self, task: Draw) -> Iterator[Event]:
        """What happens to a task, from the files that have to come to its end."""

        def tell(text: str) -> None:
            if task.task_id in self._stopped:
                raise Stopped
            self._send(self._card, Progressed(task.task_id, 0, text))

        files = self._head.of_task(task)
        if self._sender.bring(self.actor, files, tell):
            self._tell_files()
        pictures = input_pictures(task)
        given = ray.put(pictures) if pictures else pictures
        followed = task.task_id in self._followed
        draw = self.actor.draw.options(_generator_backpressure_num_objects=READ_AT_ONCE)
        self._stream = draw.remote(task, given, files, followed=followed)
        while (event := self._next()) is not None:
            yield event
            if (now := task.task_id in self._followed) != followed:  # it may have been told too early
                followed = now
                self.actor.follow.remote(task.task_id, followed)

    def _next(self) -> Event | None:
        """The next event of the stream; None after the last.

        Raises:
            RayActorError: the process is gone, or the machine that held the event.
        """
        self._waits_since = monotonic()
        try:
            event: Event = ray.get(next(self._stream))
        except StopIteration:
            return None
        except ObjectLostError as error:
            raise RayActorError(error_msg=first_line(error)) from error
        finally:
            self._waits_since = None
        return event

    def _bring(self, message: BringFile) -> None:
        """Copy a model file to the head, and tell how far it is."""
        place, error, done = (message.model_kind, message.name), "", 0
        while (info := self._info) is None and not self._leaving.wait(ASKED_AGAIN):
            pass  # it was lost meanwhile, or not, if the web process was told of its files too late

        def tell(came: int) -> None:
            nonlocal done
            done = came
            self._send(self._card, FileBrought(*place, done))

        try:
            receive(self.actor, place, message.size, Path(message.target), tell)
            self._tell_files()
        except (RayActorError, ObjectLostError) as failed:  # the web process begins again with a card that has it
            self._lose(info, f"{message.name}, of which {done} bytes came", failed)
            return
        except Exception as failed:
            log.exception("%s does not come to the head", message.name)
            error = reason(failed)
        finally:
            self._coming.discard(message.target)
        self._send(self._card, FileBrought(*place, done, True, error))

    def _look(self, look: Look) -> None:
        info = self._info
        try:
            files = self._head.of_look(look)
            self._sender.bring(self.actor, files)
            seen = ray.get(self.actor.look.remote(look, files))
        except (RayActorError, ObjectLostError) as failed:  # the web process gives up all looks of a card that is lost
            self._lose(info, "a look at a picture", failed)
            return
        except Exception as error:
            log.exception("looking at a picture failed")
            seen = Seen(look.look_id, error=reason(error), cause=cause(error))
        self._send(self._card, seen)
