"""The engine process over a real socket pair: what it says, obeys and survives."""

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.heartbeat import Heartbeat
from engine.interruption import Interruption
from engine.messages import Draw, Ended, PictureDone, Progressed, Ready, Skip, Stop, Unload, from_wire
from engine.process import wire
from engine.process.gpu_thread import GpuThread
from engine.process.log_context import LogContext
from tests.patience import CEILING, exit_status
from tests.serving import ROOT, halted
from tests.toy import toy_draw

pytestmark = pytest.mark.slow


class Engine:
    """An engine process and the near end of its socket."""

    def __init__(self, builtin):
        self.socket, far = socket.socketpair()
        self.socket.settimeout(CEILING)
        options = ["--threads", "1", "--device", "cpu", "--builtin", str(builtin)]
        command = [sys.executable, "-m", "engine.process", str(far.fileno()), *options]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}  # which `--threads` overrides
        self.process = subprocess.Popen(command, pass_fds=[far.fileno()], cwd=ROOT, env=environment)
        far.close()
        self.stream = self.socket.makefile("rb")

    def send(self, message):
        self.socket.sendall(wire.pack(*message.to_wire()))

    def messages(self, until=Ended):
        """What the engine says, up to and with the first message of that kind."""
        while True:
            event = from_wire(*wire.read(self.stream))
            yield event
            if isinstance(event, until):
                return

    def last(self, until=Ended):
        *_, event = self.messages(until)
        return event

    def until(self, part):
        """Wait for a progress message with this part."""
        return next(event for event in self.messages() if isinstance(event, Progressed) and part in event.message)

    def close(self):
        self.stream.close()
        self.socket.close()


@contextmanager
def started(builtin):
    engine = Engine(builtin)
    try:
        yield engine
    finally:
        engine.close()
        assert exit_status(engine.process) == 0


@pytest.fixture(scope="module")
def engine(toy):
    """A ready engine."""
    with started(toy) as engine:
        engine.ready = engine.last(Ready)
        yield engine


def test_it_says_what_it_draws_on(engine):
    assert engine.ready.device == "CPU, 1 threads"
    assert engine.ready.torch.startswith("2.")


def test_a_task_is_drawn_and_told_of_in_order(engine, tmp_path):
    engine.send(toy_draw(tmp_path, image_number=2))
    heard = list(engine.messages())
    kinds = [type(event).__name__ for event in heard]
    assert kinds[0] == "Progressed" and kinds[-1] == "Ended" and kinds.count("PictureDone") == 2
    assert heard[-1].outcome == "finished"
    assert any(event.preview.startswith(b"\x89PNG") for event in heard if isinstance(event, Progressed))
    for done in (event for event in heard if isinstance(event, PictureDone)):
        assert Path(done.path).is_file()
        saving = (100 if done.index else 52, f"Saving image {done.index + 1}/2 to system ...")
        place = heard.index(done)
        assert saving in [(e.percent, e.message) for e in heard[:place] if isinstance(e, Progressed)]


def test_a_failed_task_says_why_and_the_next_one_works(engine, tmp_path):
    engine.send(toy_draw(tmp_path, "lost", checkpoint=tmp_path / "gone.safetensors"))
    failed = engine.last()
    assert (failed.task_id, failed.outcome) == ("lost", "failed")
    assert failed.error == "gone.safetensors: there is no such file"
    engine.send(toy_draw(tmp_path, "next"))
    assert engine.last().outcome == "finished"


def test_a_broken_command_fails_alone(engine, tmp_path):
    engine.send(Draw("odd", {"prompt": "no other member"}, []))
    failed = engine.last()
    assert (failed.task_id, failed.outcome) == ("odd", "failed") and failed.error
    engine.send(toy_draw(tmp_path))
    assert engine.last().outcome == "finished"


def test_stop_ends_a_task_within_a_step(engine, tmp_path):
    engine.send(toy_draw(tmp_path, overwrite_step=200))
    engine.until("Sampling step 1/")
    engine.send(Stop("task"))
    heard = list(engine.messages())
    assert heard[-1].outcome == "stopped"
    assert not any("Sampling step 200/" in event.message for event in heard if isinstance(event, Progressed))
    assert list(tmp_path.iterdir()) == []


def test_skip_drops_the_picture_under_way(engine, tmp_path):
    engine.send(toy_draw(tmp_path, overwrite_step=30, image_number=2))
    engine.until("Sampling step 1/")
    engine.send(Skip("task"))
    ended = engine.last()
    assert ended.outcome == "finished" and any("was skipped" in note for note in ended.notes)
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_models_are_dropped_after_the_task_under_way_and_loaded_again_for_the_next(engine, tmp_path):
    engine.send(toy_draw(tmp_path, "first", overwrite_step=10))
    engine.until("Sampling step 1/")
    engine.send(Unload())
    assert engine.last().outcome == "finished"
    engine.send(toy_draw(tmp_path, "second", overwrite_step=10))
    assert engine.last().outcome == "finished"
    first, second = ((tmp_path / f"{name}-0.png").read_bytes() for name in ("first", "second"))
    assert first == second


def test_nothing_is_loaded_after_models_were_dropped(pipeline, tmp_path):
    gpu = GpuThread(lambda: pipeline, lambda _: None, Heartbeat(), LogContext())
    gpu.pipeline = pipeline
    pipeline.draw(toy_draw(tmp_path), lambda _: None, Interruption())
    assert pipeline.store.cache.parts
    gpu.unload_if_asked()
    assert pipeline.store.cache.parts
    gpu.submit_unload()
    gpu.unload_if_asked()
    assert not pipeline.store.cache.parts


def test_a_waiting_task_can_be_stopped_before_it_begins(engine, tmp_path):
    with halted(engine.process.pid):  # else both may be drawn before
        engine.send(toy_draw(tmp_path, "first"))
        engine.send(toy_draw(tmp_path, "second"))
        engine.send(Stop("second"))
    assert engine.last().outcome == "finished"
    second = engine.last()
    assert (second.task_id, second.outcome) == ("second", "stopped")


def test_stop_for_a_task_that_is_over_changes_nothing(engine, tmp_path):
    engine.send(Stop("long over"))
    engine.send(toy_draw(tmp_path))
    assert engine.last().outcome == "finished"


def test_it_ends_at_once_when_the_web_process_is_gone(engine, tmp_path):
    """The last test of this engine."""
    engine.send(toy_draw(tmp_path, overwrite_step=200, aspect_ratios_selection="512×512"))
    next(engine.messages())
    engine.close()
    assert exit_status(engine.process) == 0
    assert list(tmp_path.iterdir()) == []
