"""The program of a checkout: its modules imported as its own `launch.py` would, and its worker given tasks.

Nothing of the checkout is changed on the disk. In this process three of its functions tell what they do: the one that
saves a picture, the one that prints what ended a task, and the one that would download a model file, which fails.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from engine.checkout import members
from engine.checkout.task_arguments import TASK, page_defaults, read_task_arguments
from engine.checkout.task_values import TaskValues
from engine.choices import VAE_OF_CHECKPOINT
from engine.files.catalogue import matching

log = logging.getLogger(__name__)

WORKER, PAGE = "modules/async_worker.py", "webui.py"
ENVIRONMENT = {"PYTORCH_ENABLE_MPS_FALLBACK": "1", "PYTORCH_MPS_HIGH_WATERMARK_RATIO": "0.0"}
"""What its `launch.py` puts into the environment."""
IDLE_TICK = 0.01
MARKS = 2
"""Tokens that stand around every text."""


class WorkerEnded(RuntimeError):
    """The program's thread that draws is gone, and with it this process's use."""


class MissingModelFile(FileNotFoundError):
    """The program would have downloaded a model file; the text names it."""


@dataclass(frozen=True)
class SavedPicture:
    """What the program tells of a picture as it saves it: its record, its texts, its size in pixels, its seed.

    `kept` is whether the program itself would keep the picture.
    """

    rows: Sequence[tuple[str, str, Any]]
    positive: Sequence[str]
    negative: Sequence[str]
    size: tuple[int, int]
    seed: int | None
    kept: bool


class Program:
    """The checkout in the working folder, which draws one task at a time; pictures are saved below `scratch`.

    `flags` are those of the program's own command line.
    """

    def __init__(self, flags: Sequence[str], scratch: Path) -> None:
        self.root, self.scratch = Path.cwd(), scratch
        self.arguments = read_task_arguments((self.root / WORKER).read_text("utf-8"))
        self.saved: dict[str, SavedPicture] = {}
        self.failure: BaseException | None = None
        self._ended: dict[threading.Thread, BaseException | None] = {}
        self._worker: Any = None
        self._threads: set[threading.Thread] = set()
        sys.argv = ["launch.py", *flags, "--disable-image-log", "--temp-path", str(scratch)]
        os.environ.update(ENVIRONMENT)
        self.config = self._module("modules.config")
        os.environ["U2NET_HOME"] = str(self.config.path_inpaint)
        self.flags = self._module("modules.flags")
        self.version = str(self._module("fooocus_version").version)
        self.memory = self._module("ldm_patched.modules.model_management")
        self.torch = self._module("torch")
        self._module("extras.inpaint_mask")  # the slowest of its imports, and the likeliest to fail
        self.refresh()
        hashes = self._module("modules.hash_cache")
        hashes.init_cache(
            self.config.model_filenames,
            self.config.paths_checkpoints,
            self.config.lora_filenames,
            self.config.paths_loras,
        )
        self._watch()
        self.others = self._page_values()

    @property
    def device(self) -> str:
        """What it draws on."""
        return str(self.memory.get_torch_device_name(self.memory.get_torch_device()))

    def refresh(self) -> None:
        """Have it see the model files that lie there now."""
        self.config.update_files()

    def file_name(self, kind: str, name: str) -> str:
        """What it calls the model file of this kind (checkpoints, loras, vae) that a request calls so."""
        listed = {"checkpoints": "model_filenames", "loras": "lora_filenames", "vae": "vae_filenames"}[kind]
        return next(iter(matching(name, getattr(self.config, listed))), name)

    def checkpoint_name(self, path: str) -> str:
        """What it calls the checkpoint at this path; one outside its folders by the path itself."""
        for folder in self.config.paths_checkpoints:
            if PurePath(path).is_relative_to(folder):
                return str(PurePath(path).relative_to(folder))
        return path

    def make_task(self, values: TaskValues, tell: Callable[[str, Any], None]) -> Any:
        """A task of its own; `tell` hears `yield` and `result` with what the task says and brings, in its threads.

        The first task starts the worker, which loads that task's base model.

        Raises:
            KeyError: it asks for an argument that nobody has a value for.
        """
        if self._worker is None:
            self._start(values)
        names = self.arguments.in_order(self._evaluation())
        return _followed(getattr(self._worker, TASK), tell)([values.take(name) for name in names])

    def begin(self, task: Any) -> None:
        """Have a task drawn."""
        self.failure = None
        with self.memory.interrupt_processing_mutex:
            self.memory.interrupt_processing = False
        self._worker.async_tasks.append(task)

    def interrupt(self, task: Any, how: str) -> None:
        """End a task (`stop`), or the picture under way (`skip`), after the current step."""
        task.last_stop = how
        if task.processing:
            self.memory.interrupt_current_processing()

    def check_worker(self) -> None:
        """See that the worker lives.

        Raises:
            WorkerEnded: it does not; the cause is what ended it.
        """
        for thread in self._threads:
            if not thread.is_alive():
                raise WorkerEnded("Fooocus's worker ended") from self._ended.get(thread)

    def rest(self) -> None:
        """Wait until the worker has nothing left to do of the last task."""
        settings = getattr(sys.modules.get("modules.patch"), "patch_settings", {})
        while os.getpid() in settings:
            self.check_worker()
            time.sleep(IDLE_TICK)

    def clear_scratch(self) -> None:
        """Delete what was saved; what cannot be deleted now is so after the next task."""
        self.saved.clear()
        try:
            for entry in self.scratch.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        except OSError as error:
            log.warning("the scratch folder is not cleared: %s", error)

    def unload(self) -> None:
        """Drop all models; whatever needs one loads it again."""
        pipeline: Any = sys.modules.get("modules.default_pipeline")
        if pipeline is not None:
            pipeline.model_base, pipeline.model_refiner = (pipeline.core.StableDiffusionModel() for _ in range(2))
            pipeline.loaded_ControlNets = {}
            for name in ("final_unet", "final_clip", "final_vae", "final_refiner_unet", "final_refiner_vae"):
                setattr(pipeline, name, None)
        self.memory.unload_all_models()
        self.memory.soft_empty_cache()

    def prompt_tokens(self, prompt: str) -> int:
        """How many tokens a prompt has, by the tokenizer of the model under way; 0 before there is one."""
        clip = getattr(sys.modules.get("modules.default_pipeline"), "final_clip", None)
        words = getattr(getattr(getattr(clip, "tokenizer", None), "clip_l", None), "tokenizer", None)
        return 0 if words is None else max(0, len(words(prompt)["input_ids"]) - MARKS)

    def _start(self, values: TaskValues) -> None:
        """Import the worker, which starts a thread, which loads the default models: those of this task."""
        base = values.take("base_model_name")
        self.config.default_base_model_name = self.config.default_model = base
        self.config.default_refiner_model_name, self.config.default_vae = "None", VAE_OF_CHECKPOINT
        self.config.default_loras = []
        before = set(threading.enumerate())
        self._worker = self._module("modules.async_worker")
        self._threads = set(threading.enumerate()) - before
        if not self._threads:
            raise WorkerEnded("Fooocus's modules/async_worker.py started no thread")

    def _watch(self) -> None:
        """Hear of pictures that are saved, of what ends tasks and threads, and of downloads."""
        logger = self._module("modules.private_logger")
        save, signature = logger.log, inspect.signature(logger.log)

        def saved(*args: Any, **kwargs: Any) -> str:
            path = str(save(*args, **kwargs))
            self.saved[path] = _told(signature.bind(*args, **kwargs).arguments)
            return path

        printed, ended = traceback.print_exc, threading.excepthook

        def failed(*args: Any, **kwargs: Any) -> None:
            if threading.current_thread() in self._threads:
                self.failure = sys.exc_info()[1]
            printed(*args, **kwargs)

        def thread_ended(args: Any) -> None:
            self._ended[args.thread] = args.exc_value
            ended(args)

        def refused(url: str, target: str, *_: Any, **__: Any) -> None:
            raise MissingModelFile(f"The model file {PurePath(target).name} is not on this server")

        logger.log, traceback.print_exc, threading.excepthook = saved, failed, thread_ended
        self._module("torch.hub").download_url_to_file = refused

    def _page_values(self) -> Mapping[str, Any]:
        """The values of arguments without a member in requests: what the program's own page sends untouched."""
        names = members.foreign(self.arguments.names)
        if not names:
            return {}
        defaults = page_defaults((self.root / PAGE).read_text("utf-8"))
        known = {"modules": sys.modules["modules"], "flags": self.flags, "config": self.config}
        return {name: eval(_compiled(defaults[name]), dict(known)) for name in names if name in defaults}

    def _evaluation(self) -> Callable[[ast.expr], Any]:
        """What gives the worth of expressions of the task's source."""
        known = dict(vars(self._worker))
        exec(compile(ast.Module(list(self.arguments.imports), []), TASK, "exec"), known)
        return lambda expression: eval(_compiled(expression), known)

    @staticmethod
    def _module(name: str) -> Any:
        return importlib.import_module(name)


def _compiled(expression: ast.expr) -> Any:
    return compile(ast.Expression(expression), TASK, "eval")


def _told(arguments: Mapping[str, Any]) -> SavedPicture:
    height, width = arguments["img"].shape[:2]
    task = arguments.get("task") or {}
    return SavedPicture(
        arguments["metadata"],
        task.get("positive", ()),
        task.get("negative", ()),
        (width, height),
        task.get("task_seed"),
        bool(arguments.get("persist_image", True)),
    )


def _followed(task: Any, tell: Callable[[str, Any], None]) -> Callable[[list[Any]], Any]:
    """How to make a task of this class that tells what it says and brings."""

    class Yields(list):
        def append(self, item: Any) -> None:
            tell("yield", item)

    class FollowedTask(task):
        def __init__(self, args: list[Any]) -> None:
            self._results: list[Any] = []
            super().__init__(args)
            self.yields = Yields()

        @property
        def results(self) -> list[Any]:
            return self._results

        @results.setter
        def results(self, found: list[Any]) -> None:
            new, self._results = found[len(self._results) :], found
            for item in new:
                tell("result", item)

    return FollowedTask
