"""Control nets: files of every layout, their residuals, and when and how strongly they count."""

import inspect

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from diffusers.models.attention_processor import Attention
from safetensors.torch import save_file

from engine.adapters.controlnet import Control, covering, skip_widths, softened
from engine.adapters.controlnet_files import ControlFile
from engine.errors import CheckpointError
from engine.files.builtin_set import CHECKPOINT
from engine.gpu.residency import Residency
from engine.models.checkpoint import load_checkpoint
from engine.sampling.model_sampling import ModelSampling
from tests.engine.adapters.control_nets import HINT_WIDTHS, control_parts, encoder, low_rank, summed
from tests.engine.adapters.unet_calls import evaluation, output_of

CPU = torch.device("cpu")
SAMPLING = ModelSampling()


@pytest.fixture(scope="module")
def unet(toy):
    """The toy UNet: two levels, attention in the lower one."""
    return load_checkpoint(toy, CPU).unet


@pytest.fixture(scope="module")
def mini():
    """The built-in model's UNet: four levels of one resnet each."""
    return load_checkpoint(CHECKPOINT, CPU).unet


@pytest.fixture
def generator():
    """A fresh source of numbers."""
    return torch.Generator().manual_seed(3)


@pytest.fixture
def loaded(tmp_path):
    """Gives a file of these tensors, written and read back."""

    def loaded(tensors, name="control.safetensors"):
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / name)
        return ControlFile.load(tmp_path / name, CPU)

    return loaded


def hint(height=64, width=96):
    """A control image, twice the same."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def control(net, stop=1.0, weight=1.0, softness=0.0, image=None):
    """A control of this net that lasts to the end."""
    return Control(net, hint() if image is None else image, stop, weight, softness, SAMPLING)


def close(ours, theirs):
    """Whether two sets of residuals are the same but for rounding."""
    pairs = zip((*ours.skips, ours.middle), (*theirs.skips, theirs.middle), strict=True)
    return all(torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in pairs)


def test_a_whole_net_gives_the_residuals_of_the_librarys(unet, generator, loaded):
    net = loaded(encoder(unet) | control_parts(unet, generator)).on(unet)
    settings = {**unet.config, "layers_per_block": 1, "conditioning_embedding_out_channels": HINT_WIDTHS}
    accepted = inspect.signature(ControlNetModel.__init__).parameters
    model = ControlNetModel(**{name: settings[name] for name in settings if name in accepted})
    model.load_state_dict(net.state_dict())
    call = evaluation(unet)
    picture = torch.from_numpy(hint()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        skips, middle = model(
            call.x,
            call.t,
            call.context,
            picture.expand(2, -1, -1, -1),
            added_cond_kwargs={"text_embeds": call.pooled, "time_ids": call.sizes},
            return_dict=False,
        )
    ours = control(net).residuals(call)
    assert len(ours.skips) == len(skips)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours.skips, skips, strict=True))
    assert torch.allclose(ours.middle, middle, atol=1e-5)


@pytest.mark.parametrize("layout", ["bare", "prefixed", "diffusers"])
def test_the_layouts_of_whole_nets_are_one(unet, generator, loaded, layout):
    tensors = encoder(unet) | control_parts(unet, generator)
    expected = loaded(tensors).on(unet)
    if layout == "prefixed":
        tensors = {f"control_model.{name}": tensor for name, tensor in tensors.items()}
    elif layout == "diffusers":
        tensors = expected.state_dict()
    net = loaded(tensors, "other.safetensors").on(unet)
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in expected.state_dict().items())


@pytest.mark.parametrize("model", ["unet", "mini"])
def test_differences_are_the_whole_net_of_the_explicit_sums(model, request, generator, loaded):
    unet = request.getfixturevalue(model)
    file = low_rank(unet, generator)
    call = evaluation(unet)
    ours = control(loaded(file).on(unet)).residuals(call)
    whole = control(loaded(summed(unet, file), "whole.safetensors").on(unet)).residuals(call)
    plain = control(loaded(encoder(unet) | control_parts(unet, generator), "plain.safetensors").on(unet))
    assert close(ours, whole)
    assert not close(ours, plain.residuals(call))


def test_differences_count_from_the_weights_as_they_are_patched(toy, generator, loaded):
    unet = load_checkpoint(toy, CPU).unet
    file = loaded(low_rank(unet, generator))
    before = control(file.on(unet)).residuals(evaluation(unet))
    with torch.no_grad():
        unet.down_blocks[0].resnets[0].conv2.weight.mul_(1.5)
    after = control(file.on(unet)).residuals(evaluation(unet))
    assert not close(before, after)


def projections(net):
    """The names of the weights of each attention's projections of one input, which a processor has as one."""
    for name, part in net.named_modules():
        if isinstance(part, Attention):
            layers = ("to_k", "to_v") if part.is_cross_attention else ("to_q", "to_k", "to_v")
            yield {f"{name}.{layer}.weight" for layer in layers}


def shared(net, unet):
    """The names of the net's weights that are the UNet's memory, and of all that are as the UNet's."""
    own, theirs = net.state_dict(), unet.state_dict()
    alike = {name for name in own if name in theirs and torch.equal(own[name], theirs[name])}
    return {name for name in alike if own[name].data_ptr() == theirs[name].data_ptr()}, alike


def test_what_a_file_of_differences_leaves_alone_is_the_unets_memory(unet, generator, loaded):
    before = {name: weight.clone() for name, weight in unet.state_dict().items()}
    file = low_rank(unet, generator)
    net = loaded(file).on(unet)
    replaced = sum(not name.startswith(("input_hint", "zero_convs", "middle_block_out")) for name in file)
    products = sum(name.endswith(".up") for name in file)
    kept, alike = shared(net, unet)
    assert len(alike) == len(encoder(unet)) - (replaced - products - 1)
    assert kept == alike - set().union(*(names for names in projections(net) if not names <= alike))
    assert all(torch.equal(unet.state_dict()[name], weight) for name, weight in before.items())


def test_attention_that_a_file_of_differences_leaves_alone_is_the_unets_memory(unet, generator, loaded):
    file = {name: part for name, part in low_rank(unet, generator).items() if "transformer_blocks" not in name}
    net = loaded(file).on(unet)
    kept, alike = shared(net, unet)
    assert kept == alike and all(names <= alike for names in projections(net))
    whole = control(loaded(summed(unet, file), "whole.safetensors").on(unet)).residuals(evaluation(unet))
    assert close(control(net).residuals(evaluation(unet)), whole)


def test_the_built_in_models_net_has_a_residual_per_skip(mini, generator, loaded):
    call = evaluation(mini, size=(16, 16))
    residuals = control(loaded(low_rank(mini, generator)).on(mini), image=hint(128, 128)).residuals(call)
    assert [skip.shape[1] for skip in residuals.skips] == skip_widths(mini) == [40, 40, 40, 64, 64, 128, 128, 192]
    plain = output_of(mini, call)
    assert not torch.allclose(output_of(mini, call, residuals), plain, atol=1e-4)


def test_a_small_net_has_fewer_transformers_than_its_unet(unet, generator, loaded):
    tensors = encoder(unet) | control_parts(unet, generator)
    small = {name: tensor for name, tensor in tensors.items() if not name.startswith("input_blocks.3.1.")}
    assert len(small) < len(tensors)
    net = loaded(small).on(unet)
    assert not any(getattr(block, "has_cross_attention", False) for block in net.down_blocks)
    assert net.mid_block.has_cross_attention
    assert control(net).residuals(evaluation(unet)) is not None


def test_softness_rises_evenly_to_the_middle():
    expected = [0.75, 0.7778, 0.8056, 0.8333, 0.8611, 0.8889, 0.9167, 0.9444, 0.9722, 1.0]
    assert softened(10, 0.25) == pytest.approx(expected, abs=5e-5)
    assert softened(10, 0.0) == [1.0] * 10
    assert softened(3, 1.0) == [0.0, 0.5, 1.0]


def test_weight_and_softness_scale_each_residual(unet, generator, loaded):
    net = loaded(encoder(unet) | control_parts(unet, generator)).on(unet)
    full = control(net).residuals(evaluation(unet))
    weighed = control(net, weight=0.6, softness=0.25).residuals(evaluation(unet))
    factors = softened(len(full.skips) + 1, 0.25)
    for skip, given, factor in zip((*full.skips, full.middle), (*weighed.skips, weighed.middle), factors, strict=True):
        assert torch.allclose(given, skip * 0.6 * factor, atol=1e-6)


def test_several_controls_add_up(unet, generator, loaded):
    net = loaded(encoder(unet) | control_parts(unet, generator)).on(unet)
    one, other = control(net, weight=0.5), control(net, weight=0.25)
    total = one.residuals(evaluation(unet)) + other.residuals(evaluation(unet))
    assert close(total, control(net, weight=0.75).residuals(evaluation(unet)))


def test_no_weight_is_no_residual(unet, generator, loaded):
    net = loaded(encoder(unet) | control_parts(unet, generator)).on(unet)
    assert control(net, weight=0.0).residuals(evaluation(unet)) is None


@pytest.mark.parametrize(
    ("stop", "last"), [(0.0, 999999999.9), (0.3, 3.325069), (0.5, 1.615580), (0.9, 0.343705), (1.0, 0.0)]
)
def test_it_counts_down_to_the_noise_level_of_its_stop(unet, generator, loaded, stop, last):
    net = loaded(encoder(unet) | control_parts(unet, generator)).on(unet)
    attachment = control(net, stop=stop)
    assert attachment.last_sigma == pytest.approx(last, rel=1e-5)
    for sigma, counts in ((attachment.last_sigma, True), (attachment.last_sigma * 0.999 - 1e-9, False)):
        assert (attachment.residuals(evaluation(unet, sigma=sigma)) is not None) == counts
    assert (attachment.residuals(evaluation(unet, sigma=14.6)) is not None) == (stop > 0)


def test_attached_it_leaves_the_unet_alone(unet, generator, loaded):
    attachment = control(loaded(encoder(unet) | control_parts(unet, generator)).on(unet))
    plain = output_of(unet, evaluation(unet))
    with attachment.attached(unet):
        assert torch.equal(output_of(unet, evaluation(unet)), plain)
    assert attachment.state(evaluation(unet, t=900)) == attachment.state(evaluation(unet, t=1))


def test_a_net_for_another_unet_is_not_attached(unet, mini, generator, loaded):
    attachment = control(loaded(encoder(mini) | control_parts(mini, generator)).on(mini))
    with pytest.raises(CheckpointError, match="made for a UNet with skips"), attachment.attached(unet):
        pass


def test_a_hint_of_another_size_is_cut_to_shape_and_resized(unet, generator, loaded):
    net = loaded(encoder(unet) | control_parts(unet, generator)).on(unet)
    wide = np.zeros((64, 128, 3), dtype=np.uint8)
    wide[:, 16:112] = hint()
    expected = control(net).residuals(evaluation(unet))
    assert close(control(net, image=wide).residuals(evaluation(unet)), expected)
    twice = hint().repeat(2, axis=0).repeat(2, axis=1)
    assert close(control(net, image=twice).residuals(evaluation(unet)), expected)


@pytest.mark.parametrize(("shape", "rows", "columns"), [((40, 64), (0, 40), (12, 52)), ((64, 40), (12, 52), (0, 40))])
def test_the_cut_is_central(shape, rows, columns):
    image = torch.arange(shape[0] * shape[1], dtype=torch.float32).reshape(1, 1, *shape)
    assert torch.equal(covering(image, 40, 40), image[:, :, slice(*rows), slice(*columns)])


def test_files_that_do_not_fit_say_so_by_name(unet, mini, generator, loaded):
    file = loaded(low_rank(mini, generator))
    with pytest.raises(CheckpointError, match=r"control\.safetensors does not fit the checkpoint"):
        file.on(unet)
    file = loaded(encoder(mini) | control_parts(mini, generator), "whole.safetensors")
    with pytest.raises(CheckpointError, match=r"whole\.safetensors does not fit the checkpoint"):
        file.on(unet)
    lacking = low_rank(unet, generator)
    del lacking["zero_convs.1.0.weight"]
    with pytest.raises(CheckpointError, match=r"lacks 1 tensor\(s\), first controlnet_down_blocks\.1\.weight"):
        loaded(lacking).on(unet)


def test_files_that_are_no_control_nets_say_so_by_name(unet, generator, loaded):
    with pytest.raises(CheckpointError, match=r"control\.safetensors: not a control net"):
        loaded(encoder(unet))
    with pytest.raises(CheckpointError, match=r"control\.safetensors: not a control net"):
        loaded(control_parts(unet, generator))
    parts = control_parts(unet, generator)
    parts["input_hint_block.0.weight"] = torch.zeros(4, 6, 3, 3)
    with pytest.raises(CheckpointError, match="control images of 6 channels, not 3"):
        loaded(encoder(unet) | parts)


def test_a_file_of_differences_gives_the_same_net_on_a_unet_that_is_away(toy, unet, generator, loaded):
    file = loaded(low_rank(unet, generator))
    away, residency = load_checkpoint(toy, CPU).unet, Residency(CPU)
    residency.adopt(away)
    expected, found = file.on(unet).state_dict(), file.on(away).state_dict()
    assert residency.parts[0].held == 0
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
