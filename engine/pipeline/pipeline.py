"""One request to its pictures: load, read the prompt, sample, decode, save."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from pathlib import Path

import torch

from engine.choices import NO_MODEL
from engine.files import builtin_set
from engine.files.catalogue import Catalogue, Folders
from engine.files.hashes import HashCache
from engine.gpu.fused import Kernels
from engine.heartbeat import Signs
from engine.images import codecs
from engine.images.grid import grid
from engine.interruption import Interruption, Stopped
from engine.messages import Draw, Ended
from engine.model_store import Store, name_of
from engine.params import GenerateParams
from engine.pipeline.canvas import Canvas
from engine.pipeline.control import guided
from engine.pipeline.draw import Studio
from engine.pipeline.enhance import Enhancer
from engine.pipeline.init_image import begin, canvas_for
from engine.pipeline.inputs import Inputs
from engine.pipeline.job import Emit, Job, Unsampled
from engine.pipeline.outbox import Outbox
from engine.pipeline.passes import Passes, Ready
from engine.pipeline.save import Finished, Saver
from engine.plan import plan_for
from engine.progress import Progress

log = logging.getLogger(__name__)


class Pipeline:
    """Draws tasks one after another; what they are drawn with stays loaded, and `signs` tell how it gets on."""

    def __init__(
        self,
        device: str | torch.device,
        folders: Folders | None = None,
        builtin: Path = builtin_set.CHECKPOINT,
        hashes: HashCache | None = None,
        kernels: Path | None = None,
        signs: Signs | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.signs = signs or Signs()
        self.catalogue = Catalogue(folders or Folders({}), builtin)
        self.kernels = Kernels() if self.device.type == "cuda" else None
        self.studio = Studio(self.device, self.kernels)
        self.store = Store(
            self.device, self.catalogue, forget=self.studio.forget, signs=self.signs, kernels=self.kernels
        )
        self.saver = Saver(hashes)
        self.passes = Passes(self.store, self.studio, self.saver)
        self.enhancer = Enhancer(self.passes)
        if self.kernels is not None:
            self.kernels.start_compiling(self.device, kernels)

    @torch.inference_mode()
    def draw(self, task: Draw, emit: Emit, interruption: Interruption | None = None) -> Ended:
        """Draw the task's pictures into its outputs; `emit` hears of everything but the end, from another thread.

        Raises:
            CheckpointError: a model file cannot be drawn with.
            OSError: a picture could not be written.
        """
        plan = plan_for(GenerateParams.from_dict(task.params), builtin=task.checkpoint is None)
        if self.kernels is not None:
            self.kernels.adopt()
        with Outbox(emit) as outbox:
            asked, notes = interruption or Interruption(), [*task.notes, *plan.notes]
            job = Job(task, plan, outbox, asked, notes=notes, signs=self.signs)
            try:
                self._draw(job)
                outcome = "finished"
            except Unsampled as result:
                self.passes.save_unsampled(job, result)
                outcome = "finished"
            except Stopped:
                outcome = "stopped"
        log.info("task %s %s: %s", task.task_id, outcome, {name: round(s, 3) for name, s in job.seconds.items()})
        drawn_with = {"checkpoint": name_of(job), "builtin": task.checkpoint is None}
        return Ended(task.task_id, outcome, None, job.seconds, drawn_with, job.notes)

    def _draw(self, job: Job) -> None:
        job.tell(Progress.LOADING, "Loading models ...")
        inputs = Inputs(job.task.inputs)
        if job.goals.enhance_given:
            assert job.params.enhance_input_image
            self.enhancer.enhance(job, [inputs.picture(job.params.enhance_input_image)])
            return
        beginning = begin(job, self.store, inputs)
        engine = job.params.inpaint_engine if beginning.painting else NO_MODEL
        ready = self.passes.ready(job, job.params, engine)
        canvas = canvas_for(job, self.store, ready.models, beginning, ready.last_seed)
        canvas = guided(job, self.store, ready.models, inputs, canvas)
        drawn = self.passes.draw(job, ready, canvas, save=not self.enhancer.only_last(job))
        self._add_grid(job, ready, canvas, drawn)
        if job.goals.enhance:
            self.enhancer.enhance(job, [picture.result() for picture in drawn])

    def _add_grid(self, job: Job, ready: Ready, canvas: Canvas, drawn: list[Future[codecs.Pixels]]) -> None:
        """Save all pictures in one, if that is asked for and there are several."""
        if job.params.generate_image_grid and len(drawn) > 1:
            sheet = job.outbox.do(lambda: grid([picture.result() for picture in drawn]))
            generation = self.passes.generation_of(job, ready, canvas, 0)
            self.saver.save(job, Finished(sheet, ready.pictures[0].seed, generation))
