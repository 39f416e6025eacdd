"""The memory plan of the task at hand: made from its models and the card, carried out, and stepped down from."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar
from weakref import WeakSet, ref

from engine.adapters.controlnet import Control, ControlNet, Maker, encoder_size
from engine.adapters.controlnet_files import ControlFile
from engine.adapters.patched_models import Models, PatchedCheckpoint, PatchedRefiner
from engine.detectors.clip_vision import ClipVision
from engine.detectors.safety_checker import SafetyChecker
from engine.errors import TooLittleMemory
from engine.gpu.block_stream import block_sizes
from engine.gpu.device_memory import give_back
from engine.gpu.out_of_memory import is_out_of_memory
from engine.memory_plan import GIB, LIBRARIES, TEXT_WORK, MemoryPlan, Parts, Work, needed, plan_memory, smaller
from engine.model_store import ModelStore
from engine.models.expansion import Expansion
from engine.models.fill import weights_size
from engine.models.upscaler import Upscaler
from engine.models.vae import Vae
from engine.pipeline.canvas import Canvas
from engine.pipeline.control import control_images
from engine.pipeline.decoding import Undecoded
from engine.pipeline.job import Job
from engine.pipeline.outbox import Outbox
from engine.required_files import CONTROL_NETS, IMAGE_PROMPTS
from engine.sampling.guidance import unguided
from engine.sampling.unet import UNet

log = logging.getLogger(__name__)

Result = TypeVar("Result")

STEPPED_DOWN = "The GPU ran out of memory; the task went on with less of its models there, and more slowly"
HELP = "fewer other programs on this GPU would help"
SIZES = ((1024, 1024), (768, 768), (512, 512), (256, 256))
"""What is tried to find a smaller picture's size that would fit."""


class Memory:
    """Makes each task's plan and has the store's models keep to it."""

    def __init__(self, store: ModelStore) -> None:
        self.store, self.residency = store, store.residency
        self.residency.guests = self._guests
        self._parts: Parts | None = None
        self._size = 0, 0
        """What is sampled, as far as there was a plan for it."""
        self._nets: WeakSet[ControlNet] = WeakSet()
        """The task's control nets whose memory is their own."""
        self._collects = False
        """Whether the task leaves something for the garbage collector."""
        self._cleared = False
        """Whether all parts have left for a task that has no plan yet."""
        self._outboxes: WeakSet[Outbox] = WeakSet()
        """Where pictures are decoded meanwhile, whose weights must not move."""

    @property
    def plan(self) -> MemoryPlan:
        """The plan in force."""
        return self.residency.plan

    def begin(self, job: Job) -> None:
        """A new task begins, whose models are not known yet."""
        self._parts, self._cleared, self._nets = None, False, WeakSet()
        self._outboxes.add(job.outbox)
        self.residency.work = self._work(job.params.size, _rows(job))

    def end(self) -> None:
        """The task is over: weights of nets that took turns hold what brings them, and go with the collector."""
        if self._collects:
            gc.collect()
        self._collects = False

    def told(self) -> dict[str, Any]:
        """The plan as a record tells it."""
        return self.plan.told()

    def make_plan(self, job: Job, models: Models, size: tuple[int, int] | None = None) -> None:
        """Decide once a task what its models share the device by; again where that has become too little: for a larger
        size, or for a patch or a net that was loaded since."""
        work, residency = self._work(size or job.params.size, _rows(job)), self.residency
        parts, available, first = self._parts_of(job, models), self._available(models), self._parts is None
        if not first:
            work = max(work, residency.work, key=lambda either: either.sampling)
            if work == residency.work and needed(self.plan, parts, work) <= available + LIBRARIES:
                return
        plan = plan_memory(available, parts, work, least=residency.least if first else self.plan.mode)
        if plan.budget is not None and residency.least != "resident":
            # Who asks for a smaller plan than would fit wants the rest of the card for others.
            plan = replace(plan, budget=0, streamed=parts.blocks if plan.streamed else 0)
        self._parts, self._size, residency.work = parts, size or job.params.size, work
        self._carry_out(plan, models, work)

    def _available(self, models: Models) -> int:
        """Bytes for the task's models and work; much where everything is to stay, as long as that goes well."""
        free = None if self._keeps() else self.residency.available()
        return 1 << 62 if free is None else free + self._held(models)

    def _settle(self) -> None:
        """Wait until no picture is decoded."""
        for outbox in list(self._outboxes):
            outbox.settle()

    def _keeps(self) -> bool:
        """Whether everything is to stay on the device, since no task in this plan has shown that it cannot."""
        return self.residency.keep and (self._parts is None or self.plan.budget is None)

    def adopt_nets(self, canvas: Canvas, models: Models) -> None:
        """Have control nets with memory of their own leave for other work; those of whole files share the cache's.

        They come back made of the UNet once more, so that they take nothing of the host's memory, except beside a patch
        that is not always on the UNet.
        """
        made = [part.net for part in canvas.attachments if isinstance(part, Control)]
        makers = {net: net.made_by for net in made if net.made_by is not None}
        self._nets = WeakSet(makers)
        if self.plan.budget is not None:
            for net, maker in makers.items():
                again = None if models.inpaint_patches else _written(maker, net, models.checkpoint.unet)
                self.residency.adopt(net, work=self.residency.work.sampling, remake=again)
                self._collects = True

    def going_on(self, job: Job, work: Callable[[], Result]) -> Result:
        """The result of a piece of a task's work, which is begun again as often as it runs out of memory.

        Raises:
            TooLittleMemory: not even the smallest plan has room for it.
        """
        while True:
            try:
                return work()
            except Undecoded:
                pass
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                log.warning("the task ran out of memory: %s", error)
            self._step_down(job, job.models)  # outside the handler, which keeps what filled the memory alive

    def _step_down(self, job: Job, models: Models | None) -> None:
        """Go on under the next smaller plan, with a note.

        A task that has no plan yet, since its models did not fit beside the last one's, has one more try without those.
        """
        if self._parts is None or models is None:
            if self._cleared:
                raise self._too_little()
            self._cleared = True
            self.clear()
            return
        self._settle()
        available = self.residency.available()
        following = smaller(self.plan, 1 << 62 if available is None else available + self._held(models), self._parts)
        if following is None:
            raise self._too_little()
        self._carry_out(following, models, self.residency.work)
        self.clear()
        job.add_notes(STEPPED_DOWN)

    def _too_little(self) -> TooLittleMemory:
        """What to say where even the smallest plan ran out of memory."""
        free, parts = self.residency.available(), self._parts
        if free is None or parts is None:
            return TooLittleMemory(f"The GPU ran out of memory; {HELP}")
        plan = MemoryPlan("streamed", free, parts.blocks, parts.blocks, tiles=True)
        smaller_ones = [size for size in SIZES if math.prod(size) < math.prod(self._size)]
        fits = next((size for size in smaller_ones if needed(plan, parts, self._work(size)) <= free), None)
        least = needed(plan, parts, self._work(SIZES[-1]))
        would = f"about {_gib(least)} are needed" if least > free else HELP
        would = f"a picture of {fits[0]}×{fits[1]} would fit" if fits else would
        return TooLittleMemory(f"The GPU ran out of memory, with {_gib(free)} free for this program; {would}")

    def _work(self, size: tuple[int, int], rows: int = 2) -> Work:
        """The work on pictures of this size, in the number formats and on the devices of the models."""
        precision = self.store.precision
        work = Work.of(size, rows, half=precision.vae.itemsize == 2, unet_half=precision.arithmetic.itemsize == 2)
        return replace(work, decoding=0, decoding_a_tile=0) if precision.vae_on_processor else work

    def clear(self) -> None:
        """Have all that is loaded and can take turns, and recorded calls, give their memory back."""
        self._settle()
        for part in self.store.cache.parts.values():
            for modules in _turns_of(part):
                self.residency.adopt(*modules)
            if isinstance(part, PatchedCheckpoint):
                part.checkpoint.text_encoders.forget_recorded()
        self.residency.left()
        self.residency.clear()
        gc.collect()
        give_back(self.residency.device)

    def _carry_out(self, plan: MemoryPlan, models: Models, work: Work) -> None:
        log.info("memory plan: %s", plan)
        for vae in _vaes(models):
            vae.make_room = self.clear if plan.overlaps else self.residency.clear
        if plan.budget is not None:
            residency, decoding = self.residency, work.decoding_a_tile if plan.tiles else work.decoding
            for vae in _vaes(models):
                residency.adopt(vae.module, work=decoding)
            unet, texts, *_ = models.checkpoint.modules
            beside = decoding if plan.overlaps else 0
            residency.adopt(*unet, work=work.sampling + beside)
            residency.adopt(*texts, work=TEXT_WORK)
            if models.refiner is not None:
                residency.adopt(models.refiner.unet, work=work.sampling + beside)
            self.adopt_guests()
        self.residency.follow(plan)

    def adopt_guests(self) -> None:
        """Have models beside those that draw take turns too; and those that must not be cramped have others leave."""
        for part in self.store.cache.parts.values():
            if isinstance(part, Upscaler):
                part.make_room = self.clear
        if self.plan.budget is None and self.residency.least == "resident":
            return
        for part in self.store.cache.parts.values():
            if isinstance(part, ClipVision | SafetyChecker | Expansion):
                for modules in _turns_of(part):
                    self.residency.adopt(*modules)

    def _guests(self) -> int:
        """Bytes of loaded models that stay where they are: adapters, control nets' files, networks that see."""
        return sum(part.size for part in list(self.store.cache.parts.values()) if not _turns_of(part))

    def drop_guests(self) -> None:
        """Forget models that do not draw and cannot take turns, where there is no room to keep them."""
        if self.plan.budget is None:
            return
        for key, part in list(self.store.cache.parts.items()):
            sees = isinstance(part, Upscaler) or type(part).__module__.startswith("engine.detectors")
            if sees and not isinstance(part, ClipVision | SafetyChecker):
                self.store.cache.drop(key)

    def _parts_of(self, job: Job, models: Models) -> Parts:
        """What the task draws with.

        Patches, and adapters that are loaded, are on the device already and never leave it: what is available is
        without them, and they are not counted again. A net of differences is made for the task.
        """
        unet = models.checkpoint.unet
        refiner = 0 if models.refiner is None else weights_size(models.refiner.unet)
        blocks = block_sizes(unet)
        _, texts, *_ = models.checkpoint.modules
        return Parts(
            weights_size(unet),
            weights_size(*texts),
            weights_size(models.vae.module) if models.vae.moves else 0,
            self._adapters(job, unet),
            refiner,
            len(blocks),
            max(blocks, default=0),
        )

    def _adapters(self, job: Job, unet: UNet) -> int:
        """Bytes of what control images need beside the models, as far as it is not on the device yet."""
        kinds, copied = {prompt.cn_type for prompt in control_images(job.modes)}, encoder_size(unet)
        nets = {job.files.control_net(kind) for kind in kinds & CONTROL_NETS.keys()}
        adapters = {job.files.image_prompt_adapter(kind)[0] for kind in kinds & IMAGE_PROMPTS.keys()}
        files = {path: path.stat().st_size for path in nets | adapters if path.is_file()}
        needed = sum(size for path, size in files.items() if self.store.loaded(path) is None)
        for path in nets & files.keys():
            net = self.store.loaded(path)
            differences = net.low_rank if isinstance(net, ControlFile) else files[path] < copied
            needed += copied if differences else 0
        return needed

    def _held(self, models: Models) -> int:
        """Bytes of the models, and of nets made of their weights, that lie on the device without being adopted."""
        modules = [module for part in models.checkpoint.modules for module in part]
        modules += [] if models.refiner is None else [models.refiner.unet]
        nets = [encoder_size(net) for net in self._nets if not self.residency.has(net)]
        return sum(weights_size(module) for module in modules if not self.residency.has(module)) + sum(nets)


def _written(maker: Maker, net: ControlNet, unet: UNet) -> Callable[[], None]:
    """What writes a net's weights again; it does not keep the net."""
    there = ref(net)

    def write() -> None:
        net = there()
        assert net is not None  # it is a net's call that brings its weights
        maker.write(net, unet)

    return write


def _turns_of(part: Any) -> list[tuple[Any, ...]]:
    """The modules of a loaded model that take turns on a small GPU, those in one group that come together."""
    match part:
        case PatchedCheckpoint():
            return list(part.checkpoint.modules)
        case PatchedRefiner():
            own = part.refiner.vae
            return [(part.refiner.unet,), *([(own.module,)] if own is not None and own.moves else [])]
        case Vae() if part.moves:
            return [(part.module,)]
        case ClipVision():
            return [(part.module,)]
        case SafetyChecker():
            return [(part.tower,)]
        case Expansion():
            return [(part.model,)]
    return []


def _vaes(models: Models) -> list[Vae]:
    """The VAEs that a task may use and that may leave the device."""
    own = models.refiner.vae if models.refiner else None
    return [vae for vae in dict.fromkeys((models.checkpoint.own_vae, models.vae, own)) if vae is not None and vae.moves]


def _rows(job: Job) -> int:
    return 1 if unguided(job.params.guidance_scale) else 2


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
