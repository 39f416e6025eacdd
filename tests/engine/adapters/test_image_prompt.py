"""Image prompts: an adapter's files, what each cross-attention reads, and for how long."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.adapters.image_prompt import EncodedImagePrompt, ImagePromptAdapter, ImagePrompts, cross_attentions, weighed
from engine.detectors.clip_vision import ClipVision
from engine.errors import CheckpointError
from engine.files.builtin_set import CHECKPOINT
from engine.models.checkpoint import load_checkpoint
from tests.engine.adapters.image_adapters import TOKENS, adapter, adapter_files, plain_projection, resampler
from tests.engine.adapters.unet_calls import evaluation, output_of
from tests.engine.detectors.vision_towers import vision_file

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def unet():
    """The built-in model's UNet: cross-attention at two widths, on the way down, up and in the middle."""
    return load_checkpoint(CHECKPOINT, CPU).unet


@pytest.fixture
def generator():
    """A fresh source of numbers."""
    return torch.Generator().manual_seed(4)


@pytest.fixture
def features(tmp_path):
    """Gives what the tower sees in one of several pictures."""
    tower = ClipVision.load(vision_file(tmp_path / "vision.safetensors"), CPU)

    def features(seed=0):
        return tower.features(np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8))

    return features


@pytest.fixture
def loaded(unet, tmp_path, generator):
    """The adapter for the UNet."""
    return ImagePromptAdapter.load(*adapter_files(tmp_path, unet, generator, adapter(unet, generator)), CPU)


def by_hand(unet, prompts, call):
    """The UNet's output where each cross-attention is computed by the formulas alone, head by head."""
    order = list(cross_attentions(unet))
    widest = max(layer.to_k.out_features for layer in order)
    hooks = []

    def replaced(index):
        def forward(layer, given, told, _output):
            hidden, context = given[0], told["encoder_hidden_states"]
            rows = []
            for row, is_positive in enumerate(call.positive):
                query = hidden[row] @ layer.to_q.weight.T
                keys, values = [context[row] @ layer.to_k.weight.T], [context[row] @ layer.to_v.weight.T]
                for prompt in prompts:
                    side = prompt.tokens.positive if is_positive else prompt.tokens.negative
                    key, value = side[index][0][0], side[index][1][0]
                    w = prompt.weight * key.shape[-1] / widest
                    keys.append(key * w)
                    values.append(value - value.mean(0) + value.mean(0) * w)
                key, value = torch.cat(keys), torch.cat(values)
                heads = zip(*(part.chunk(layer.heads, dim=-1) for part in (query, key, value)), strict=True)
                read = [(q @ k.T / q.shape[-1] ** 0.5).softmax(-1) @ v for q, k, v in heads]
                rows.append(torch.cat(read, dim=-1) @ layer.to_out[0].weight.T + layer.to_out[0].bias)
            return torch.stack(rows)

        return forward

    for index, layer in enumerate(order):
        hooks.append(layer.register_forward_hook(replaced(index), with_kwargs=True))
    try:
        return output_of(unet, call)
    finally:
        for hook in hooks:
            hook.remove()


def attached_output(unet, attachment, call):
    """The UNet's output with the attachment on it."""
    with attachment.attached(unet):
        attachment.state(call)
        return output_of(unet, call)


def test_cross_attentions_are_counted_down_up_and_then_the_middle(unet):
    modules = {id(module): name for name, module in unet.named_modules()}
    places = [modules[id(layer)].split(".transformer_blocks")[0] for layer in cross_attentions(unet)]
    assert places == [
        "down_blocks.2.attentions.0",
        "down_blocks.3.attentions.0",
        "up_blocks.0.attentions.0",
        "up_blocks.0.attentions.1",
        "up_blocks.1.attentions.0",
        "up_blocks.1.attentions.1",
        "mid_block.attentions.0",
    ]


@pytest.mark.parametrize("positive", [(False, True), (True,), (False,)])
@pytest.mark.parametrize("weights", [(0.6,), (1.0, 0.3), (0.0,), (2.0,)])
def test_every_cross_attention_reads_the_pictures_in_one_softmax_with_the_text(
    unet, loaded, features, positive, weights
):
    prompts = [EncodedImagePrompt(loaded.tokens(features(n)), 1.0, weight) for n, weight in enumerate(weights)]
    call = evaluation(unet, positive=positive, size=(16, 16))
    output = attached_output(unet, ImagePrompts(prompts), call)
    assert torch.allclose(output, by_hand(unet, prompts, call), atol=1e-4)
    assert not torch.allclose(output, output_of(unet, call), atol=1e-3)


def test_the_sides_are_told_apart(unet, loaded, features):
    attachment = ImagePrompts([EncodedImagePrompt(loaded.tokens(features()), 1.0, 1.0)])
    one = evaluation(unet, positive=(True,), size=(16, 16))
    other = evaluation(unet, positive=(False,), size=(16, 16))
    assert not torch.allclose(
        attached_output(unet, attachment, one), attached_output(unet, attachment, other), atol=1e-3
    )


def test_a_repeated_text_weighs_more_against_the_picture(unet, loaded, features):
    attachment = ImagePrompts([EncodedImagePrompt(loaded.tokens(features()), 1.0, 1.0)])
    once = evaluation(unet, size=(16, 16))
    repeated = replace(once, context=once.context.repeat(1, 2, 1))
    assert torch.allclose(output_of(unet, once), output_of(unet, repeated), atol=1e-4)
    output = attached_output(unet, attachment, repeated)
    assert not torch.allclose(output, attached_output(unet, attachment, once), atol=1e-4)
    assert torch.allclose(output, by_hand(unet, attachment.prompts, repeated), atol=1e-4)


def test_pictures_count_until_their_stop(unet, loaded, features):
    prompts = [EncodedImagePrompt(loaded.tokens(features(n)), stop, 1.0) for n, stop in enumerate((0.5, 0.8))]
    attachment = ImagePrompts(prompts)
    for t, active in ((999, (0, 1)), (500, (0, 1)), (499, (1,)), (250, (1,)), (199, ())):
        call = evaluation(unet, t=t, size=(16, 16))
        assert attachment.state(call) == (active, (False, True))
        expected = by_hand(unet, [prompts[n] for n in active], call)
        assert torch.allclose(attached_output(unet, attachment, call), expected, atol=1e-4)


def test_none_that_counts_is_the_plain_unet_to_the_bit(unet, loaded, features):
    attachment = ImagePrompts([EncodedImagePrompt(loaded.tokens(features()), 0.0, 1.0)])
    call = evaluation(unet, size=(16, 16))
    assert torch.equal(attached_output(unet, attachment, call), output_of(unet, call))


def test_it_comes_off_whole_even_when_the_run_fails(unet, loaded, features):
    attachment = ImagePrompts([EncodedImagePrompt(loaded.tokens(features()), 1.0, 1.0)])
    call = evaluation(unet, size=(16, 16))
    plain, processors = output_of(unet, call), dict(unet.attn_processors)
    with pytest.raises(RuntimeError, match="stopped"), attachment.attached(unet):
        attachment.state(call)
        assert not torch.equal(output_of(unet, call), plain)
        raise RuntimeError("stopped")
    assert all(unet.attn_processors[name] is processor for name, processor in processors.items())
    assert torch.equal(output_of(unet, call), plain)


def test_what_an_equal_state_reads_stays_where_it_was(unet, loaded, features):
    prompts = [EncodedImagePrompt(loaded.tokens(features()), stop, 1.0) for stop in (0.3, 0.8)]
    attachment = ImagePrompts(prompts)
    early, late = evaluation(unet, t=900), evaluation(unet, t=400)
    attachment.state(early)
    places = [part.data_ptr() for part in attachment.pictures(0)]
    attachment.state(late)
    assert [part.data_ptr() for part in attachment.pictures(0)] != places
    attachment.state(evaluation(unet, t=850))
    assert [part.data_ptr() for part in attachment.pictures(0)] == places


def test_the_weight_scales_keys_and_the_mean_of_values_less_in_narrow_layers():
    key, value = torch.randn(1, 4, 640), torch.randn(1, 4, 640)
    keys, values = weighed(key, value, 0.6, 1280)
    assert torch.allclose(keys, key * 0.3)
    assert torch.allclose(values.mean(1), value.mean(1) * 0.3, atol=1e-6)
    assert torch.allclose(values - values.mean(1), value - value.mean(1), atol=1e-6)
    for given, expected in zip(weighed(key, value, 1.0, 640), (key, value), strict=True):
        assert torch.allclose(given, expected, atol=1e-6)


@pytest.mark.parametrize("projection", [resampler, plain_projection])
def test_both_file_formats_give_the_same_tokens(unet, tmp_path, features, projection):
    tokens = []
    for suffix in (".bin", ".safetensors"):
        generator = torch.Generator().manual_seed(9)
        parts = adapter(unet, generator, projection)
        files = adapter_files(tmp_path, unet, generator, parts, suffix)
        tokens.append(ImagePromptAdapter.load(*files, CPU).tokens(features()))
    for one, other in zip(*((*t.positive, *t.negative) for t in tokens), strict=True):
        assert one[0].shape[1] == TOKENS
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_layers_are_in_the_order_of_their_numbers_and_the_negatives_are_the_files(unet, tmp_path, features, generator):
    parts = adapter(unet, generator)
    files = adapter_files(tmp_path, unet, generator, parts)
    loaded = ImagePromptAdapter.load(*files, CPU)
    tokens = loaded.tokens(features())
    for n in (0, 1, 6):  # 1, 3 and 13: as texts they sort otherwise
        key, value = tokens.negative[n]
        assert torch.allclose(key, loaded.negative @ parts["ip_adapter"][f"{2 * n + 1}.to_k_ip.weight"].T)
        assert torch.allclose(value, loaded.negative @ parts["ip_adapter"][f"{2 * n + 1}.to_v_ip.weight"].T)


def test_its_size_is_that_of_its_weights(unet, loaded, generator):
    parts = adapter(unet, generator)
    weights = sum(tensor.nbytes for part in parts.values() for tensor in part.values())
    assert loaded.size == weights + TOKENS * unet.config.cross_attention_dim * 4


def test_files_that_are_no_adapters_say_so_by_name(unet, tmp_path, generator):
    parts = adapter(unet, generator)

    def load(parts):
        return ImagePromptAdapter.load(*adapter_files(tmp_path, unet, generator, parts), CPU)

    with pytest.raises(CheckpointError, match=r"adapter\.bin: not an IP-Adapter"):
        load({"image_proj": parts["image_proj"]})
    with pytest.raises(CheckpointError, match=r"adapter\.bin cannot be used as an IP-Adapter: it lacks 3\.to_v_ip"):
        load(parts | {"ip_adapter": {n: t for n, t in parts["ip_adapter"].items() if n != "3.to_v_ip.weight"}})
    with pytest.raises(CheckpointError, match="other parts than keys and values"):
        load(parts | {"ip_adapter": parts["ip_adapter"] | {"0.to_q_lora.down.weight": torch.zeros(2, 2)}})
    with pytest.raises(CheckpointError, match=r"missing\.bin: there is no such file"):
        ImagePromptAdapter.load(tmp_path / "missing.bin", tmp_path / "negative.safetensors", CPU)


def test_an_adapter_for_another_unet_is_not_attached(toy, unet, loaded, features):
    attachment = ImagePrompts([EncodedImagePrompt(loaded.tokens(features()), 1.0, 1.0)])
    other = load_checkpoint(toy, CPU).unet
    with pytest.raises(CheckpointError, match="7 cross-attentions up to 192 wide; this one has 4"):  # noqa: SIM117
        with attachment.attached(other):
            pass
