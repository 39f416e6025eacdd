"""The pipeline of a request: load models, encode texts, sample, decode, save."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import torch

from engine.choices import NO_MODEL
from engine.files import builtin_set
from engine.files.catalogue import Catalogue, Folders
from engine.files.file_sets import file_set
from engine.files.hashes import HashCache
from engine.gpu.capabilities import Card, DrawingSettings, Features
from engine.gpu.compiled_kernels import Kernels
from engine.heartbeat import Heartbeat
from engine.images import codecs
from engine.images.grid import grid
from engine.images.picture_file import PictureFile, write_picture
from engine.interruption import Interruption, Stopped
from engine.memory_plan import Mode
from engine.messages import Draw, Ended
from engine.model_store import ModelStore
from engine.params import GenerateParams
from engine.pipeline.canvas import Canvas
from engine.pipeline.control import controlled
from engine.pipeline.draw import Renderer
from engine.pipeline.enhance import Enhancer
from engine.pipeline.init_image import init_canvas, read_init_image
from engine.pipeline.inputs import InputPictures
from engine.pipeline.job import Emit, Job, Unsampled
from engine.pipeline.memory import Memory
from engine.pipeline.outbox import Outbox
from engine.pipeline.passes import Passes, PreparedPass
from engine.pipeline.save import FinishedPicture, Saver
from engine.plan import plan_for
from engine.progress import Progress
from engine.sampling.together import Together

log = logging.getLogger(__name__)

TOGETHER = "Steps were computed for several tasks at once, which rounds otherwise than one alone"
REHEARSED_STEPS = 2
"""A call of a UNet is run once, and recorded the second time."""
REHEARSED_PROMPT = "a picture"
"""An empty prompt is not expanded, and would leave the expansion's model for the first task to load."""


class Pipeline:
    """Draws tasks one after another, keeps their models loaded, and shows in `heartbeat` that it gets on.

    Its number formats are those of `card` in place of the device's own, if given, with those of `settings`. `write` is
    what puts finished files where they belong.
    """

    def __init__(
        self,
        device: str | torch.device,
        folders: Folders | None = None,
        builtin: Path = builtin_set.CHECKPOINT,
        hashes: HashCache | None = None,
        kernels: Path | None = None,
        heartbeat: Heartbeat | None = None,
        least: Mode = "resident",
        settings: DrawingSettings | None = None,
        *,
        keep: bool = False,
        card: Card | None = None,
        write: Callable[[PictureFile], None] = write_picture,
    ) -> None:
        self.device = torch.device(device)
        self.heartbeat = heartbeat or Heartbeat()
        self.catalogue = Catalogue(folders or Folders({}), builtin)
        self.kernels = Kernels() if Features.for_device(self.device).kernels else None
        self.settings = settings or DrawingSettings()
        self.renderer = Renderer(self.device, self.kernels, least, keep=keep)
        self.store = ModelStore(
            self.device,
            self.catalogue,
            forget=self.renderer.forget,
            heartbeat=self.heartbeat,
            kernels=self.kernels,
            residency=self.renderer.residency,
            precision=self.settings.precision(card or Card.of(self.device)),
            attention=self.settings.attention,
        )
        self.saver = Saver(hashes, write)
        self.memory = Memory(self.store)
        self.store.cache.loading, self.store.cache.loaded = self.renderer.residency.make_room, self.memory.adopt_guests
        self.passes = Passes(self.store, self.renderer, self.saver, self.memory)
        self.enhancer = Enhancer(self.passes)
        if self.kernels is not None:
            self.kernels.start_compiling(self.device, kernels)

    @torch.inference_mode()
    def draw(
        self, task: Draw, emit: Emit, interruption: Interruption | None = None, together: Together | None = None
    ) -> Ended:
        """Draw the task's pictures into its outputs; `emit` gets every message but the last, on another thread.

        With `together` it is one of several that are drawn at once, each on a thread that takes part there.

        Raises:
            CheckpointError: a model file is missing or cannot be used.
            OSError: a picture could not be written.
        """
        plan = plan_for(GenerateParams.from_dict(task.params), file_set(self.catalogue, task.checkpoint))
        if self.kernels is not None:
            self.kernels.adopt()
        with Outbox(emit) as outbox:
            asked = interruption or Interruption()
            notes = [*task.notes, *plan.notes, *self.settings.unmet(self.store.precision)]
            job = Job(task, plan, outbox, asked, notes=notes, heartbeat=self.heartbeat, together=together)
            try:
                self._draw_in_memory(job)
                outcome = "finished"
            except Unsampled as result:
                self.passes.save_unsampled(job, result)
                outcome = "finished"
            except Stopped:
                outcome = "stopped"
            finally:
                job.drop_undecoded()
        self.memory.end()
        log.info("task %s %s: %s", task.task_id, outcome, {name: round(s, 3) for name, s in job.seconds.items()})
        name = job.files.checkpoint_name(job.params.base_model_name)
        if together is not None and together.joined:
            job.add_notes(TOGETHER)
        drawn_with = {
            "checkpoint": name,
            "builtin": task.checkpoint is None,
            "memory": self.memory.told(),
            "prompt_tokens": job.prompt_tokens,
        }
        if asked_for := self.settings.told(self.store.precision):
            drawn_with["settings"] = asked_for
        return Ended(task.task_id, outcome, None, job.seconds, drawn_with, job.notes)

    def together(self, tasks: int) -> Together:
        """The turns of so many tasks that are drawn at once, if the first one's plan leaves room for all."""

        def room() -> bool:
            residency = self.renderer.residency
            free = residency.available()
            return residency.plan.budget is None and (free is None or free > 2 * tasks * residency.work.sampling)

        return Together(tasks, room, self.renderer.graphs)

    @torch.inference_mode()
    def preload(self, task: Draw, interruption: Interruption, given_up: Callable[[], bool]) -> None:
        """Load the models of a task that nobody sent, and on a GPU draw a little of it, so that the first one is quick.

        It saves nothing. A stop ends it at the next step, or while the checkpoint is loaded if that is `given_up`.

        Raises:
            CheckpointError: a model file is missing or cannot be used.
        """

        def check() -> None:
            if given_up():
                raise Stopped

        short = {"image_number": 1, "overwrite_step": REHEARSED_STEPS}
        params = GenerateParams.from_dict(task.params | short | {"prompt": task.params["prompt"] or REHEARSED_PROMPT})
        plan = plan_for(params, file_set(self.catalogue, task.checkpoint))
        if self.kernels is not None:
            self.kernels.adopt()
        self.store.check = check
        try:
            with Outbox(lambda message: None) as outbox:
                job = Job(task, plan, outbox, interruption, heartbeat=self.heartbeat, rehearsal=True)
                if self.device.type == "cpu":  # where steps take long, and the first one no longer than others
                    self.memory.begin(job)
                    self.passes.prepare(job, job.params)
                else:
                    self._draw_in_memory(job)
            log.info("preloaded: %s", {name: round(s, 3) for name, s in job.seconds.items()})
        except Stopped:
            log.info("not all is preloaded: a task came")
        finally:
            self.store.check = lambda: None

    def _draw_in_memory(self, job: Job) -> None:
        """Draw the task's pictures, and enhance them; what runs out of memory is done again under a smaller plan."""
        plan, inputs = job.plan, InputPictures(job.task.inputs)
        self.memory.begin(job)

        def draw() -> list[Future[codecs.Pixels]]:
            job.plan = plan
            return self._draw(job, inputs)

        job.report_progress(Progress.LOADING, "Loading models ...")
        if job.modes.enhance_given:
            assert job.params.enhance_input_image
            self.enhancer.enhance(job, [inputs.picture(job.params.enhance_input_image)])
            return
        drawn = self.memory.going_on(job, draw)
        if job.modes.enhance and not job.rehearsal:
            self.enhancer.enhance(job, [picture.result() for picture in drawn])

    def _draw(self, job: Job, inputs: InputPictures) -> list[Future[codecs.Pixels]]:
        """Draw the pictures that the job does not have yet; all of them."""
        init_image = read_init_image(job, self.store, inputs)
        engine = job.params.inpaint_engine if init_image.inpainted else NO_MODEL
        prepared = self.passes.prepare(job, job.params, engine)
        canvas = init_canvas(job, self.store, prepared.models, init_image, prepared.last_seed)
        # A control net of differences shares the UNet's weights unless they are to move: the plan comes first.
        self.memory.make_plan(job, prepared.models, canvas.sampled)
        canvas = controlled(job, self.store, prepared.models, inputs, canvas)
        self.memory.adopt_nets(canvas, prepared.models)
        save = not (job.rehearsal or self.enhancer.saves_only_last(job))
        drawn = self.passes.draw(job, prepared, canvas, job.drawn, save=save)
        self._add_grid(job, prepared, canvas, drawn)
        return drawn

    def _add_grid(self, job: Job, prepared: PreparedPass, canvas: Canvas, drawn: list[Future[codecs.Pixels]]) -> None:
        """Save all pictures in one grid, if that is requested and there are several."""
        if job.params.generate_image_grid and len(drawn) > 1:
            sheet = job.outbox.submit(lambda: grid([picture.result() for picture in drawn]))
            generation = self.passes.generation(job, prepared, canvas, 0)
            self.saver.save(job, FinishedPicture(sheet, prepared.pictures[0].seed, generation))
