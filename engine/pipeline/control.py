"""What conditions sampling besides texts: control images for control nets, image prompts, FreeU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from engine.adapters.controlnet import Control, ControlNet
from engine.adapters.controlnet_files import ControlFile
from engine.adapters.image_prompt import EncodedImagePrompt, ImagePromptAdapter, ImagePrompts
from engine.adapters.patched_models import Models
from engine.detectors.clip_vision import ClipVision
from engine.detectors.faces import FaceDetector
from engine.images.canny import pyra_canny
from engine.images.codecs import Pixels
from engine.images.cpds import cpds
from engine.images.resize import cover
from engine.model_store import ModelStore
from engine.modes import Modes
from engine.params import GenerateParams, ImagePrompt
from engine.pipeline.canvas import Canvas
from engine.pipeline.inputs import InputPictures
from engine.pipeline.job import Job, Unsampled
from engine.required_files import CONTROL_NETS, FACE_DETECTOR, IMAGE_PROMPTS
from engine.sampling.attachments import Attachment
from engine.sampling.freeu import FreeU
from engine.sampling.model_sampling import model_sampling
from engine.sampling.native_size import Size

ORDER = (*CONTROL_NETS, *IMAGE_PROMPTS)
"""The order in which kinds of control image are applied; within a kind the request's order counts."""


def control_images(modes: Modes) -> list[ImagePrompt]:
    """The control images in the order in which they are applied."""
    return sorted(modes.control, key=lambda prompt: ORDER.index(prompt.cn_type))


def preprocessed(job: Job, store: ModelStore, inputs: InputPictures, prompt: ImagePrompt, size: Size) -> Pixels:
    """A control image preprocessed for pictures that are sampled at this size.

    It is resized first: edges found in a larger one would be lost in making it smaller.
    """
    params = job.params
    assert prompt.cn_img
    picture = inputs.picture(prompt.cn_img)
    if prompt.cn_type in CONTROL_NETS:
        picture = cover(picture, *size)
    if params.skipping_cn_preprocessor or prompt.cn_type == "ImagePrompt":
        return picture
    if prompt.cn_type == "PyraCanny":
        return pyra_canny(picture, params.canny_low_threshold, params.canny_high_threshold)
    if prompt.cn_type == "CPDS":
        return cpds(picture)
    if not job.files.detects_faces:
        return picture
    return store.load_named("controlnet", FACE_DETECTOR, FaceDetector.load).straightened(picture)


def controlled(job: Job, store: ModelStore, models: Models, inputs: InputPictures, canvas: Canvas) -> Canvas:
    """The canvas with the attachments of the inpaint patch, control images, image prompts and FreeU.

    Raises:
        Unsampled: the request asks only for its preprocessed control images.
    """
    prompts = control_images(job.modes)
    if prompts and job.params.debugging_cn_preprocessor:
        raise Unsampled([preprocessed(job, store, inputs, prompt, canvas.sampled) for prompt in prompts])
    hints = [prompt for prompt in prompts if prompt.cn_type in CONTROL_NETS]
    pictures = [prompt for prompt in prompts if prompt.cn_type not in CONTROL_NETS]
    attachments: list[Attachment] = [*models.inpaint_patches]
    net_of = cache(lambda path: _control_net(job, store, models, path))
    attachments += [_control(job, store, models, inputs, prompt, canvas.sampled, net_of) for prompt in hints]
    if pictures:
        attachments.append(
            ImagePrompts([_image_prompt(job, store, inputs, prompt, canvas.sampled) for prompt in pictures])
        )
    attachments += [*canvas.attachments, *freeu(job.params)]
    return replace(canvas, attachments=tuple(attachments))


def _control(
    job: Job,
    store: ModelStore,
    models: Models,
    inputs: InputPictures,
    prompt: ImagePrompt,
    size: Size,
    net_of: Callable[[Path], ControlNet],
) -> Control:
    job.stop_if_asked()
    hint = preprocessed(job, store, inputs, prompt, size)
    assert prompt.cn_stop is not None and prompt.cn_weight is not None
    sampling = model_sampling(models.checkpoint.prediction, job.params.scheduler_name)
    net = net_of(job.files.control_net(prompt.cn_type))
    return Control(net, hint, prompt.cn_stop, prompt.cn_weight, job.params.controlnet_softness, sampling)


def _control_net(job: Job, store: ModelStore, models: Models, path: Path) -> ControlNet:
    """The net of this file for the task's UNet, with room for it."""
    unet = models.checkpoint.unet
    with job.timed("load"):
        file = store.load(path, ControlFile.load)
        store.residency.make_room(file.made_size(unet))
        return file.on(unet)


def _image_prompt(
    job: Job, store: ModelStore, inputs: InputPictures, prompt: ImagePrompt, size: Size
) -> EncodedImagePrompt:
    job.stop_if_asked()
    picture = preprocessed(job, store, inputs, prompt, size)
    with job.timed("load"):
        adapter = _image_prompt_adapter(job, store, prompt.cn_type)
        encoder = store.load(job.files.clip_vision(), ClipVision.load)
    assert prompt.cn_stop is not None and prompt.cn_weight is not None
    return EncodedImagePrompt(adapter.tokens(encoder.features(picture)), prompt.cn_stop, prompt.cn_weight)


def _image_prompt_adapter(job: Job, store: ModelStore, kind: str) -> ImagePromptAdapter:
    file, negative = job.files.image_prompt_adapter(kind)
    return store.load(file, lambda path, device: ImagePromptAdapter.load(path, negative, device))


def freeu(params: GenerateParams) -> Iterator[FreeU]:
    """FreeU, if the request has it on."""
    if params.freeu_enabled:
        yield FreeU(params.freeu_b1, params.freeu_b2, params.freeu_s1, params.freeu_s2)
