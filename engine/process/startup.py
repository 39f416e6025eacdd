"""How an engine is started: the command line it takes, and the pipeline that follows from it."""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from engine import choices
from engine.files import builtin_set
from engine.files.catalogue import Catalogue, Folders
from engine.files.hashes import HashCache, hash_all
from engine.heartbeat import Heartbeat
from engine.images.picture_file import PictureFile, write_picture
from engine.memory_plan import AUTO, MODES
from engine.process.lean_imports import lean_imports
from engine.process.preload import Preload
from engine.process.tuning import tune_process

if TYPE_CHECKING:
    import torch

    from engine.models.early_reading import EarlyReader
    from engine.pipeline.pipeline import Pipeline


def pipeline_maker(
    arguments: argparse.Namespace, heartbeat: Heartbeat, write: Callable[[PictureFile], None] = write_picture
) -> Callable[[], Pipeline]:
    """How to start the pipeline: torch is imported there, in the thread that draws.

    `write` puts finished files where they belong.
    """

    def make() -> Pipeline:
        tune_process(arguments.kernels)
        gc.disable()  # the libraries are thousands of modules: looking for garbage among them takes a fifth of the time
        import torch

        from engine.gpu.capabilities import DrawingSettings, chosen_device

        torch.set_num_threads(arguments.threads)
        device = chosen_device(arguments.device)
        reader = early_reader(arguments, device)
        with lean_imports():
            from engine.pipeline.pipeline import Pipeline

        gc.freeze()  # nor need they be looked through whenever a model leaves memory
        gc.enable()
        hashes = HashCache(arguments.hashes) if arguments.hashes else None
        least = MODES[0] if arguments.memory_plan == AUTO else arguments.memory_plan
        names = [field.name for field in fields(DrawingSettings)]
        settings = DrawingSettings(**{name: getattr(arguments, name) for name in names})
        pipeline = Pipeline(
            device,
            arguments.folders,
            arguments.builtin,
            hashes,
            arguments.kernels,
            heartbeat,
            least,
            settings,
            keep=arguments.memory_plan == MODES[0],
            write=write,
        )
        pipeline.store.early_reader = reader
        if hashes is not None:
            hash_beside(arguments, hashes, pipeline.catalogue, reader)
        return pipeline

    return make


def early_reader(arguments: argparse.Namespace, device: torch.device) -> EarlyReader | None:
    """What reads the checkpoint that is to be preloaded while other libraries are imported; None without one."""
    preload: Preload | None = arguments.preload
    if preload is None or preload.task.checkpoint is None:
        return None
    from engine.models.early_reading import EarlyReader

    may_stay = arguments.memory_plan in (AUTO, MODES[0])
    reader = EarlyReader(Path(preload.task.checkpoint), device, preload.given_up, straight=may_stay)
    reader.start()
    return reader


def hash_beside(
    arguments: argparse.Namespace, hashes: HashCache, catalogue: Catalogue, reader: EarlyReader | None
) -> None:
    """Compute hashes on a thread of their own: of all model files if that is asked for, else of what is preloaded."""
    if arguments.rehash:
        Thread(target=hash_all, args=(hashes, files_to_hash(catalogue), arguments.rehash), daemon=True).start()
    elif reader is not None and arguments.preload.task.params["save_metadata_to_images"]:
        Thread(target=hash_after, args=(reader, hashes), daemon=True).start()


def hash_after(reader: EarlyReader, hashes: HashCache) -> None:
    """Hash what is read early, once it lies in the page cache: the first picture that carries its hash finds it."""
    reader.join()
    if not reader.given_up.is_set():
        hash_all(hashes, [reader.path], 1)


def files_to_hash(catalogue: Catalogue) -> list[Path]:
    """The files whose hashes pictures carry."""
    named = [(kind, name) for kind in ("checkpoints", "loras") for name in catalogue.names(kind)]
    return [path for kind, name in named if (path := catalogue.find(kind, name))]


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser(prog="engine.process", description="The engine process of fooocus-flask.")
    parser.add_argument("fd", type=int, help="the inherited socket to the web process")
    parser.add_argument("--threads", type=int, default=cores, help="CPU threads that draw; all cores")
    parser.add_argument("--beat", type=float, default=5.0, help="seconds between signs of life")
    parser.add_argument("--device", help="cuda, xpu, mps or cpu, as torch names it; the accelerator if there is one")
    parser.add_argument("--memory-plan", choices=(AUTO, *MODES), default=AUTO, help="the most comfortable plan allowed")
    for flag, formats in (("unet-storage", choices.UNET_STORAGES), ("vae-format", choices.VAE_FORMATS)):
        parser.add_argument(f"--{flag}", choices=formats, default="", help="a number format; as suits the device")
    parser.add_argument("--text-storage", choices=choices.TEXT_STORAGES, default="", help="of text encoders; fp16")
    parser.add_argument("--attention", choices=choices.ATTENTIONS, default="", help="how UNets attend; pytorch")
    parser.add_argument("--unet-arithmetic", choices=choices.UNET_ARITHMETICS, default="", help="of linear layers")
    parser.add_argument("--folders", type=Folders.from_json, help="the folders of models and word lists, as JSON")
    parser.add_argument("--hashes", type=Path, help="where hashes of model files are kept; none: pictures carry none")
    parser.add_argument("--rehash", type=int, metavar="N", help="hash all checkpoints and LoRAs now, N at a time")
    parser.add_argument(
        "--kernels", type=Path, help="where compiled GPU kernels are kept; none: where Triton keeps them"
    )
    parser.add_argument("--preload", type=Preload.from_json, help="what the first task will probably want, as JSON")
    parser.add_argument("--builtin", type=Path, default=builtin_set.CHECKPOINT, help="file of the built-in model")
    return parser.parse_args(words)
