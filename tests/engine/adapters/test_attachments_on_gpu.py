"""Everything that is attached, on a GPU: in half precision, without a wait, recorded and replayed."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.adapters.controlnet import Control
from engine.adapters.controlnet_files import ControlFile
from engine.adapters.image_prompt import EncodedImagePrompt, ImagePromptAdapter, ImagePrompts
from engine.adapters.inpaint_head import InpaintFeature, InpaintHead
from engine.detectors.clip_vision import ClipVision
from engine.gpu.compiled_kernels import Kernels
from engine.models.checkpoint import load_checkpoint
from engine.sampling.attachments import summed
from engine.sampling.graphs import CudaGraph
from engine.sampling.model_sampling import ModelSampling
from engine.sampling.unet_call import UNetCall
from tests.engine.adapters.control_nets import low_rank
from tests.engine.adapters.image_adapters import adapter, adapter_files
from tests.engine.adapters.unet_calls import evaluation
from tests.engine.detectors.vision_towers import vision_file

SIZE = (8, 12)


@pytest.fixture(scope="module")
def checkpoint(toy):
    """Gives the toy checkpoint's UNet on a device."""
    kernels = {"cuda": Kernels()}
    return lambda device: load_checkpoint(toy, torch.device(device), kernels.get(device)).unet


def attachments(folder, unet):
    """A control, an image prompt and an inpaint feature for a UNet, from the same files on every device."""
    generator = torch.Generator().manual_seed(7)
    device = unet.device
    cpu_weights = {name: weight.float().cpu() for name, weight in unet.state_dict().items()}
    files = adapter_files(folder, unet, generator, adapter(unet, generator))
    with torch.device("cpu"):
        template = type(unet).from_config(dict(unet.config))
        template.load_state_dict(cpu_weights)
        save_file({n: t.contiguous() for n, t in low_rank(template, generator).items()}, folder / "control.safetensors")
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    features = ClipVision.load(vision_file(folder / "vision.safetensors"), device).features(picture)
    tokens = ImagePromptAdapter.load(*files, device).tokens(features)
    net = ControlFile.load(folder / "control.safetensors", device).on(unet)
    head = InpaintHead(torch.randn(32, 5, 3, 3, generator=generator))
    mask, latent = torch.ones(1, 1, *SIZE), torch.randn(1, 4, *SIZE, generator=generator)
    return (
        Control(net, picture, 0.9, 0.8, 0.25, ModelSampling()),
        ImagePrompts([EncodedImagePrompt(tokens, 0.5, 0.6)]),
        InpaintFeature(head.feature(mask, latent).to(device)),
    )


def told(unet, t):
    """An evaluation on the UNet's device, in its number format."""
    call = evaluation(unet, t=t, size=SIZE)
    moved = {name: getattr(call, name).to(unet.device) for name in ("context", "pooled", "sizes")}
    return replace(call, x=call.x.to(unet.device, unet.dtype), **moved | {"context": moved["context"].to(unet.dtype)})


def made(unet, parts, call):
    """The UNet's call with the control's residuals, after all parts were told of the evaluation."""
    for part in parts:
        part.state(call)
    there = torch.full((), float(call.t), device=unet.device)
    return UNetCall(call.x, there, call.context, call.pooled, call.sizes, summed(parts, call))


@torch.inference_mode()
def output(folder, unet, t):
    """The UNet's output with everything attached."""
    parts = attachments(folder, unet)
    with ExitStack() as attached:
        for part in parts:
            attached.enter_context(part.attached(unet))
        return made(unet, parts, told(unet, t)).on(unet).float().cpu()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("t", [900, 300])
def test_in_half_precision_it_is_nearly_what_a_processor_computes(checkpoint, tmp_path, t):
    on_gpu, on_processor = (output(tmp_path, checkpoint(device), t) for device in ("cuda", "cpu"))
    assert torch.allclose(on_gpu, on_processor, atol=0.02 * on_processor.abs().max().item())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@torch.inference_mode()
def test_steps_wait_for_nothing_and_replay_to_the_bit(checkpoint, tmp_path):
    unet = checkpoint("cuda")
    parts = attachments(tmp_path, unet)
    with ExitStack() as attached:
        for part in parts:
            attached.enter_context(part.attached(unet))
        graphs = {}
        for t in (900, 300, 850, 200):  # with the image prompt, without, and both again
            call = told(unet, t)
            made(unet, parts, call).on(unet)
            torch.cuda.set_sync_debug_mode("error")
            eager = made(unet, parts, call)
            expected = eager.on(unet)
            torch.cuda.set_sync_debug_mode("default")
            graph = graphs.setdefault(parts[1].state(call), None) or CudaGraph(unet, eager, None)
            graphs[parts[1].state(call)] = graph
            assert torch.equal(graph.replay(eager), expected)
    assert len(graphs) == 2
