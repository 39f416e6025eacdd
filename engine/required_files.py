"""The model files that a request needs besides its checkpoint, each with the member that needs it. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.choices import NO_MODEL, PERFORMANCES, VAE_OF_CHECKPOINT
from engine.modes import Modes, modes_of
from engine.params import GenerateParams

INTERPOSER = "xl-to-v1_interposer-v4.0.safetensors"
UPSCALER = "fooocus_upscaler_s409985e5.bin"
INPAINT_HEAD = "fooocus_inpaint_head.pth"
INPAINT_PATCHES = {
    "v1": "inpaint.fooocus.patch",
    "v2.5": "inpaint_v25.fooocus.patch",
    "v2.6": "inpaint_v26.fooocus.patch",
}
CANNY = "control-lora-canny-rank128.safetensors"
CPDS = "fooocus_xl_cpds_128.safetensors"
CLIP_VISION = "clip_vision_vit_h.safetensors"
IMAGE_PROMPT_NEGATIVE = "fooocus_ip_negative.safetensors"
IMAGE_PROMPT = "ip-adapter-plus_sdxl_vit-h.bin"
FACE_PROMPT = "ip-adapter-plus-face_sdxl_vit-h.bin"
CONTROL_NETS = {"PyraCanny": CANNY, "CPDS": CPDS}
IMAGE_PROMPTS = {"ImagePrompt": IMAGE_PROMPT, "FaceSwap": FACE_PROMPT}
FACE_DETECTOR = "detection_Resnet50_Final.pth"
SAFETY_CHECKER = "stable-diffusion-safety-checker.bin"
SAFETY_CHECKERS = (SAFETY_CHECKER, "pytorch_model.bin")
"""The names that the same file may have."""
GROUNDING_DINO = "groundingdino_swint_ogc.pth"
ALWAYS_IN_FOOOCUS = (("vae_approx", "xlvaeapp.pth"), ("prompt_expansion", "pytorch_model.bin"))
"""Kinds and names of what Fooocus loads whatever is drawn: its previews' network, and its prompts' language model."""
CAPTIONER = "model_base_caption_capfilt_large.pth"
TAGGER, TAGS = "wd-v1-4-moat-tagger-v2.onnx", "wd-v1-4-moat-tagger-v2.csv"
SAM = {"vit_b": "sam_vit_b_01ec64.pth", "vit_l": "sam_vit_l_0b3195.pth", "vit_h": "sam_vit_h_4b8939.pth"}


@dataclass(frozen=True)
class Need:
    """A model file by kind of folder and name; `member` is the request's member that asks for it.

    `others` are further names that the same file may have.
    """

    kind: str
    name: str
    member: str
    others: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All names that the file may have."""
        return self.name, *self.others


def needs(params: GenerateParams) -> list[Need]:
    """The files that a request needs with a checkpoint, each once."""
    return _each_once([*_named(params), *_parts(params, modes_of(params)), *_of_any_model(params)])


def needs_of_any_model(params: GenerateParams) -> list[Need]:
    """The files that a request needs with a base model that brings its own parts, each once."""
    return _each_once([*_named(params), *_of_any_model(params)])


def _each_once(found: Iterable[Need]) -> list[Need]:
    """Each file with the first member that asks for it, in the order in which they are last asked for."""
    return list({(need.kind, need.name): need for need in reversed([*found])}.values())[::-1]


def _named(params: GenerateParams) -> Iterator[Need]:
    """The files that the request names."""
    if params.refiner_model_name not in (NO_MODEL, params.base_model_name):
        yield Need("checkpoints", params.refiner_model_name, "refiner_model_name")
    if params.vae_name != VAE_OF_CHECKPOINT:
        yield Need("vae", params.vae_name, "vae_name")
    for lora in params.loras:
        if lora.enabled and lora.model_name != NO_MODEL:
            yield Need("loras", lora.model_name, "loras")


def _parts(params: GenerateParams, modes: Modes) -> Iterator[Need]:
    """The files made for SDXL that a request uses: its performance mode's LoRA, and those of what it does."""
    mode = PERFORMANCES[params.performance_selection]
    if mode.lora:
        yield Need("loras", mode.lora, "performance_selection")
    if modes.upscale:
        yield Need("upscale_models", UPSCALER, "uov_method")
    if modes.enhance_uov and params.enhance_uov_method.startswith("Upscale"):
        yield Need("upscale_models", UPSCALER, "enhance_uov_method")
    if modes.inpaint:
        yield from _inpaint(params.inpaint_engine, "inpaint_engine")
    for step in modes.enhance_steps:
        yield from _inpaint(step.enhance_inpaint_engine, "enhance_ctrls")
    for prompt in modes.control:
        yield from _control(prompt.cn_type, skip_preprocessor=params.skipping_cn_preprocessor)


def _inpaint(engine: str, member: str) -> Iterator[Need]:
    yield Need("upscale_models", UPSCALER, member)
    if engine != NO_MODEL:
        yield Need("inpaint", INPAINT_HEAD, member)
        yield Need("inpaint", INPAINT_PATCHES[engine], member)


def _control(kind: str, *, skip_preprocessor: bool) -> Iterator[Need]:
    if kind in CONTROL_NETS:
        yield Need("controlnet", CONTROL_NETS[kind], "controlnet_image")
        return
    yield Need("clip_vision", CLIP_VISION, "controlnet_image")
    yield Need("controlnet", IMAGE_PROMPT_NEGATIVE, "controlnet_image")
    yield Need("controlnet", IMAGE_PROMPTS[kind], "controlnet_image")
    if kind == "FaceSwap" and not skip_preprocessor:
        yield Need("controlnet", FACE_DETECTOR, "controlnet_image")


def _of_any_model(params: GenerateParams) -> Iterator[Need]:
    """The files that serve every base model: those that find what is enhanced, and the safety checker."""
    for step in modes_of(params).enhance_steps:
        yield from mask_needs(step.enhance_mask_model, step.enhance_mask_sam_model, "enhance_ctrls")
    if params.black_out_nsfw:
        yield Need("safety_checker", SAFETY_CHECKER, "black_out_nsfw", SAFETY_CHECKERS[1:])


def mask_needs(model: str, sam_model: str, member: str = "mask_model") -> Iterator[Need]:
    """The files of a mask model."""
    if model == "sam":
        yield Need("sam", SAM[sam_model], member)
        yield Need("inpaint", GROUNDING_DINO, member)
    else:
        yield Need("inpaint", segmenter(model), member)


def segmenter(model: str) -> str:
    """The file of a mask model that takes no words."""
    return f"{model}.onnx"


def description_needs(kind: str) -> Iterator[Need]:
    """The files that describe a picture of this kind."""
    for name in (CAPTIONER,) if kind == "Photo" else (TAGGER, TAGS):
        yield Need("clip_vision", name, "image_type")
