"""What guides a request's drawing besides its texts: control images, image prompts, FreeU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from engine.adapters.controlnet import Control
from engine.adapters.image_prompt import ImagePrompt as Prompted
from engine.adapters.image_prompt import ImagePrompts
from engine.images.canny import pyra_canny
from engine.images.codecs import Pixels
from engine.images.cpds import cpds
from engine.images.resize import cover
from engine.model_store import Models, Store
from engine.modes import Goals
from engine.params import GenerateParams, ImagePrompt
from engine.pipeline.canvas import Canvas
from engine.pipeline.inputs import Inputs
from engine.pipeline.job import Job, Unsampled
from engine.required_files import CONTROL_NETS, IMAGE_PROMPTS
from engine.sampling.attachments import Attachment
from engine.sampling.freeu import FreeU
from engine.sampling.model_sampling import model_sampling
from engine.sampling.native_size import Size

HINTS = tuple(CONTROL_NETS)
ORDER = (*CONTROL_NETS, *IMAGE_PROMPTS)
"""In which the kinds are applied; within a kind the request's order counts."""


def in_order(goals: Goals) -> list[ImagePrompt]:
    """The control images in the order they are applied."""
    return sorted(goals.control, key=lambda prompt: ORDER.index(prompt.cn_type))


def seen(job: Job, store: Store, inputs: Inputs, prompt: ImagePrompt, size: Size) -> Pixels:
    """What a control image comes to once it is prepared for pictures that are sampled at this size.

    Outlines of a larger one would be lost in making it smaller.
    """
    params = job.params
    assert prompt.cn_img
    picture = inputs.picture(prompt.cn_img)
    if prompt.cn_type in HINTS:
        picture = cover(picture, *size)
    if params.skipping_cn_preprocessor or prompt.cn_type == "ImagePrompt":
        return picture
    if prompt.cn_type == "FaceSwap" and job.plan.builtin:
        return picture  # its adapter reads whole pictures only, see `plan_for`
    if prompt.cn_type == "PyraCanny":
        return pyra_canny(picture, params.canny_low_threshold, params.canny_high_threshold)
    if prompt.cn_type == "CPDS":
        return cpds(picture)
    return store.face_detector().straightened(picture)


def guided(job: Job, store: Store, models: Models, inputs: Inputs, canvas: Canvas) -> Canvas:
    """The canvas with everything on it that guides the request's drawing.

    Raises:
        Unsampled: the request only wants to see what its control images come to.
    """
    prompts = in_order(job.goals)
    if prompts and job.params.debugging_cn_preprocessor:
        raise Unsampled([seen(job, store, inputs, prompt, canvas.sampled) for prompt in prompts])
    hints = [prompt for prompt in prompts if prompt.cn_type in HINTS]
    pictures = [prompt for prompt in prompts if prompt.cn_type not in HINTS]
    attachments: list[Attachment] = [*models.inpaint_patches]
    attachments += [_control(job, store, models, inputs, prompt, canvas.sampled) for prompt in hints]
    if pictures:
        attachments.append(ImagePrompts([_prompted(job, store, inputs, prompt, canvas.sampled) for prompt in pictures]))
    attachments += [*canvas.attachments, *freeu(job.params)]
    return replace(canvas, attachments=tuple(attachments))


def _control(job: Job, store: Store, models: Models, inputs: Inputs, prompt: ImagePrompt, size: Size) -> Control:
    job.stop_if_asked()
    hint = seen(job, store, inputs, prompt, size)
    with job.timed("load"):
        net = store.control_net(prompt.cn_type, models, builtin=job.plan.builtin)
    assert prompt.cn_stop is not None and prompt.cn_weight is not None
    sampling = model_sampling(models.checkpoint.prediction, job.params.scheduler_name)
    return Control(net, hint, prompt.cn_stop, prompt.cn_weight, job.params.controlnet_softness, sampling)


def _prompted(job: Job, store: Store, inputs: Inputs, prompt: ImagePrompt, size: Size) -> Prompted:
    job.stop_if_asked()
    picture = seen(job, store, inputs, prompt, size)
    with job.timed("load"):
        builtin = job.plan.builtin
        adapter, tower = store.image_prompt_adapter(prompt.cn_type, builtin=builtin), store.clip_vision(builtin=builtin)
    assert prompt.cn_stop is not None and prompt.cn_weight is not None
    return Prompted(adapter.tokens(tower.features(picture)), prompt.cn_stop, prompt.cn_weight)


def freeu(params: GenerateParams) -> Iterator[FreeU]:
    """FreeU, if the request has it on."""
    if params.freeu_enabled:
        yield FreeU(params.freeu_b1, params.freeu_b2, params.freeu_s1, params.freeu_s2)
