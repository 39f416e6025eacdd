"""A models folder with small files of everything that pictures in requests need, fitting the toy checkpoint."""

import numpy as np
import torch
from safetensors.torch import save_file

from engine import required_files
from engine.files.catalogue import SUFFIXES
from engine.models.checkpoint import load_checkpoint
from tests.engine.adapters.control_nets import low_rank
from tests.engine.adapters.image_adapters import adapter, adapter_files
from tests.engine.detectors import onnx_files
from tests.engine.detectors.test_faces import detector_tensors
from tests.engine.detectors.test_safety_checker import checker_tensors
from tests.engine.detectors.vision_towers import PROJECTED, vision_file
from tests.engine.models.test_upscaler import numbers, words
from tests.toy import toy_checkpoint

PATCHED = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v.weight"


def picture_models(folder, checkpoint=toy_checkpoint):
    """The folder, filled, with models that `checkpoint` writes; to its safety checker no picture is safe."""
    for kind in ("checkpoints", "upscale_models", "inpaint", "controlnet", "clip_vision", "safety_checker"):
        assert kind in SUFFIXES
        (folder / kind).mkdir(parents=True)
    toy = checkpoint(folder / "checkpoints" / "base.safetensors")
    checkpoint(folder / "checkpoints" / "second.safetensors", seed=5)
    unet = load_checkpoint(toy, torch.device("cpu")).unet
    torch.save(numbers(words()), folder / "upscale_models" / required_files.UPSCALER)
    inpaint_files(folder / "inpaint", unet)
    generator = torch.Generator().manual_seed(4)
    for name in required_files.CONTROL_NETS.values():
        save_file(low_rank(unet, generator), folder / "controlnet" / name)
    for name in required_files.IMAGE_PROMPTS.values():
        path, negative = adapter_files(folder / "controlnet", unet, generator, adapter(unet, generator))
        path.rename(path.with_name(name))
        negative.rename(negative.with_name(required_files.IMAGE_PROMPT_NEGATIVE))
    vision_file(folder / "clip_vision" / required_files.CLIP_VISION)
    torch.save(detector_tensors(), folder / "controlnet" / required_files.FACE_DETECTOR)
    onnx_files.segmenter(folder / "inpaint" / required_files.segmenter("u2netp"), np.array([[1.0, -1.0, 0.0]]))
    every = torch.ones(1, PROJECTED)
    torch.save(checker_tensors(every, every, [-2.0], [2.0]), folder / "safety_checker" / required_files.SAFETY_CHECKER)
    return folder


def inpaint_files(folder, unet):
    """A head, and patches of one weight that differ."""
    generator = torch.Generator().manual_seed(3)
    head = torch.randn(unet.conv_in.out_channels, 5, 3, 3, generator=generator)
    torch.save({"head": head}, folder / required_files.INPAINT_HEAD)
    shape = unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_v.weight.shape
    for number, name in enumerate(required_files.INPAINT_PATCHES.values(), 1):
        values = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        torch.save({PATCHED: (values, torch.tensor(-1.0 * number), torch.tensor(1.0 * number))}, folder / name)
