"""Saves pictures: metadata, file, the day's log page. It runs on the outbox's thread, beside the sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from engine.files.hashes import HashCache
from engine.images import codecs
from engine.images.metadata import TOO_LONG, Generation, ModelFile, Row, encode_options, rows
from engine.images.picture_file import LogEntry, PictureFile, write_picture
from engine.messages import PictureDone
from engine.pipeline.job import Job

Model = TypeVar("Model", bound=ModelFile)

PACKERS = 4
"""Threads that pack a PNG, so that a picture does not wait for it."""


@dataclass(frozen=True)
class FinishedPicture:
    """A picture to save once it is decoded.

    `generation` holds how it was drawn; `record` replaces that where nothing was sampled.
    """

    picture: Future[codecs.Pixels]
    seed: int
    generation: Generation | None = None
    record: Sequence[Row] = ()


class Saver:
    """Saves pictures one after another; `hashes` are those of the models' files, None: metadata has no hashes.

    `write` puts a finished file where it belongs: on this machine's disk, unless somebody else takes it there.
    """

    def __init__(self, hashes: HashCache | None = None, write: Callable[[PictureFile], None] = write_picture) -> None:
        self.hashes, self.write = hashes, write
        self._packers = ThreadPoolExecutor(PACKERS, thread_name_prefix="packer")

    def save(self, job: Job, finished: FinishedPicture) -> None:
        """Have the picture written to the task's next output path; a later call on the outbox raises a failure.

        Raises:
            IndexError: the task has no path left.
        """
        index = job.results
        path = Path(job.task.outputs[index])
        job.results += 1
        job.outbox.send(lambda: self._write(job, index, path, finished))

    def save_unsampled(self, job: Job, pictures: Sequence[codecs.Pixels], record: Sequence[Row] = ()) -> None:
        """Have pictures written that nothing was sampled for."""
        for pixels in pictures:
            picture: Future[codecs.Pixels] = Future()
            picture.set_result(pixels)
            self.save(job, FinishedPicture(picture, job.params.image_seed, record=record))

    def _write(self, job: Job, index: int, path: Path, finished: FinishedPicture) -> PictureDone | None:
        """Write the picture once it is there; None for one that never will be, since the task ends before."""
        try:
            pixels = finished.picture.result()
        except CancelledError:
            return None
        with job.timed("save"):
            output_format = path.suffix.removeprefix(".").lower()
            generation = self._with_hashes(job, finished.generation)
            options = encode_options(generation, output_format) if generation else {}
            if generation and generation.params.save_metadata_to_images and not options:
                job.add_notes(TOO_LONG)
            quality = job.params.output_quality
            data = codecs.encode(pixels, output_format, quality=quality, each=self._packers.map, **options)
            entry = self._log_entry(finished, generation, embedded=bool(options)) if job.task.log else None
            self.write(PictureFile(job.task.task_id, str(path), data, entry))
        height, width, _ = pixels.shape
        return PictureDone(job.task.task_id, index, str(path), finished.seed, width, height, job.prompt_tokens)

    def _log_entry(self, finished: FinishedPicture, generation: Generation | None, *, embedded: bool) -> LogEntry:
        if generation is None:
            return LogEntry(tuple(finished.record))
        texts = (generation.positive_texts, generation.negative_texts)
        return LogEntry(rows(generation, embedded=embedded), *texts)

    def _with_hashes(self, job: Job, generation: Generation | None) -> Generation | None:
        """The generation with the hashes of its models where metadata is embedded."""
        if generation is None or self.hashes is None or not generation.params.save_metadata_to_images:
            return generation
        return replace(
            generation,
            base_model=self._with_hash(job, generation.base_model),
            refiner_model=generation.refiner_model and self._with_hash(job, generation.refiner_model),
            loras=tuple(lora and self._with_hash(job, lora) for lora in generation.loras),
        )

    def _with_hash(self, job: Job, model: Model) -> Model:
        assert self.hashes is not None
        if model.path is None:
            return model
        return replace(model, hash=self.hashes.hash(model.path, lambda _done, _of: job.heartbeat.mark()))
