"""The vision tower: sizes read from a file, its preparation of pictures, and which states it gives."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import conv2d, gelu, layer_norm
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from engine.detectors.clip_vision import DEVIATION, MEAN, ClipVision, pixel_values, tower_sizes
from engine.errors import CheckpointError
from engine.models.clip_layers import LayerSizes
from engine.models.clip_vision_model import ClipVisionModel, ClipVisionSizes
from tests.engine.detectors.vision_towers import PATCHES, PROJECTED, WIDTH, vision_file, vision_tensors

CPU = torch.device("cpu")


def picture(height=40, width=30):
    """A picture, twice the same."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def states_by_hand(tensors, pixels):
    """The states after the norm of the start and after each layer, by the formulas alone; one head."""

    def norm(x, name):
        return layer_norm(x, x.shape[-1:], tensors[f"vision_model.{name}.weight"], tensors[f"vision_model.{name}.bias"])

    def linear(x, name):
        return x @ tensors[f"vision_model.{name}.weight"].T + tensors[f"vision_model.{name}.bias"]

    patches = conv2d(pixels, tensors["vision_model.embeddings.patch_embedding.weight"], stride=7)
    first = tensors["vision_model.embeddings.class_embedding"][None, None]
    x = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1)
    x = norm(x + tensors["vision_model.embeddings.position_embedding.weight"], "pre_layrnorm")
    states = [x]
    for n in range(3):
        layer = f"encoder.layers.{n}"
        y = norm(x, f"{layer}.layer_norm1")
        q, k, v = (linear(y, f"{layer}.self_attn.{part}_proj") for part in "qkv")
        scores = (q @ k.transpose(1, 2) / WIDTH**0.5).softmax(dim=-1)
        x = x + linear(scores @ v, f"{layer}.self_attn.out_proj")
        y = gelu(linear(norm(x, f"{layer}.layer_norm2"), f"{layer}.mlp.fc1"))
        x = x + linear(y, f"{layer}.mlp.fc2")
        states.append(x)
    return states, norm(x[:, 0], "post_layernorm") @ tensors["visual_projection.weight"].T


def test_it_gives_the_states_before_the_last_layer_and_the_whole(tmp_path):
    tensors = vision_tensors()
    features = ClipVision.load(vision_file(tmp_path / "vision.safetensors"), CPU).features(picture())
    states, whole = states_by_hand(tensors, pixel_values(picture(), 28))
    assert features.patches.shape == (1, 1 + PATCHES, WIDTH)
    assert features.whole.shape == (1, PROJECTED)
    assert torch.allclose(features.patches, states[-2], atol=1e-3, rtol=1e-3)
    assert torch.allclose(features.whole, whole, atol=1e-3, rtol=1e-3)


def test_a_picture_is_stretched_not_cropped_and_normalised():
    values = pixel_values(picture(40, 30), 28)
    stretched = np.asarray(Image.fromarray(picture(40, 30)).resize((28, 28), Image.Resampling.LANCZOS))
    expected = (stretched / 255 - np.array(MEAN)) / np.array(DEVIATION)
    assert values.shape == (1, 3, 28, 28)
    assert np.allclose(values[0].permute(1, 2, 0).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("width", "inner", "patch", "positions", "heads", "act", "side"),
    [
        (1280, 5120, 14, 257, 16, "gelu", 224),
        (1664, 8192, 14, 257, 16, "gelu", 224),
        (1024, 4096, 14, 577, 16, "quick_gelu", 336),
        (768, 3072, 32, 50, 12, "quick_gelu", 224),
    ],
)
def test_sizes_of_known_towers_are_read_from_their_tensors(width, inner, patch, positions, heads, act, side):
    shapes = {
        "vision_model.embeddings.patch_embedding.weight": (width, 3, patch, patch),
        "vision_model.embeddings.position_embedding.weight": (positions, width),
        "vision_model.encoder.layers.0.mlp.fc1.weight": (inner, width),
        "vision_model.encoder.layers.1.mlp.fc1.weight": (inner, width),
        "visual_projection.weight": (1024, width),
    }
    of_layers = LayerSizes(width, heads, 2, inner, act, causal=False)
    sizes = tower_sizes({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    assert sizes == ClipVisionSizes(side, patch, of_layers, 1024)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("heads", [1, 4])
@torch.inference_mode()
def test_it_gives_the_bytes_of_the_librarys(activation, heads):
    config = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=96,
        projection_dim=48,
        num_hidden_layers=3,
        num_attention_heads=heads,
        image_size=28,
        patch_size=7,
        hidden_act=activation,
    )
    torch.manual_seed(heads)
    theirs = CLIPVisionModelWithProjection(config).eval()
    ours = ClipVisionModel(ClipVisionSizes(28, 7, LayerSizes(64, heads, 3, 96, activation, causal=False), 48)).eval()
    ours.load_state_dict(theirs.state_dict())
    pixels = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    expected, found = theirs(pixel_values=pixels, output_hidden_states=True), ours(pixels)
    assert len(found.states) == 4
    for ours_state, theirs_state in zip(found.states, expected.hidden_states, strict=True):
        assert torch.equal(ours_state, theirs_state)
    assert torch.equal(found.projected, expected.image_embeds)


def test_its_size_is_that_of_its_weights(tmp_path):
    tower = ClipVision.load(vision_file(tmp_path / "vision.safetensors"), CPU)
    assert tower.size == sum(tensor.nbytes for tensor in vision_tensors().values())


@pytest.mark.parametrize("lost", ["visual_projection.weight", "vision_model.encoder.layers.1.mlp.fc2.bias"])
def test_an_incomplete_tower_is_refused_by_name(tmp_path, lost):
    tensors = vision_tensors()
    del tensors[lost]
    with pytest.raises(CheckpointError, match=r"vision\.safetensors cannot be used as a CLIP vision model: .*" + lost):
        ClipVision.load(vision_file(tmp_path / "vision.safetensors", tensors), CPU)
