"""Sentences about photographs: BLIP's own weight names, what it sees, and how words are drawn."""

import numpy as np
import pytest
import torch

from engine.detectors.captioner import Captioner, drawn, pixel_values
from engine.detectors.word_pieces import END, tokenizer
from engine.errors import CheckpointError
from tests.engine.detectors.caption_files import SIDE, small_captioner, write_captioner

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def captioner_file(tmp_path_factory):
    return write_captioner(tmp_path_factory.mktemp("captioner") / "blip.pth")


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (24, 40, 3), dtype=np.uint8)


def test_the_names_are_those_of_blips_file(captioner_file):
    names = torch.load(captioner_file)["model"].keys()
    assert {
        "visual_encoder.cls_token",
        "visual_encoder.pos_embed",
        "visual_encoder.patch_embed.proj.weight",
        "visual_encoder.blocks.1.norm1.bias",
        "visual_encoder.blocks.1.attn.qkv.weight",
        "visual_encoder.blocks.0.attn.proj.weight",
        "visual_encoder.blocks.0.mlp.fc2.bias",
        "visual_encoder.norm.weight",
        "text_decoder.bert.encoder.layer.0.crossattention.self.key.weight",
        "text_decoder.cls.predictions.transform.LayerNorm.weight",
    } <= names


def test_a_file_is_loaded_whole(captioner_file):
    loaded, made = Captioner.load(captioner_file, CPU).module, small_captioner()
    pixels = pixel_values(picture(), SIDE)
    tokens = torch.tensor([[30522, 1037, 3861]])
    with torch.inference_mode():
        logits = [
            module.text_decoder(tokens, encoder_hidden_states=module.vision_model(pixel_values=pixels)[0]).logits
            for module in (loaded, made)
        ]
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-6)


def test_a_caption_belongs_to_its_picture(captioner_file):
    captioner = Captioner.load(captioner_file, CPU)
    first, again, other = (captioner.caption(picture(seed)) for seed in (0, 0, 1))
    assert first == again and first != other and first


def test_the_picture_is_stretched_without_smoothing_and_normalised():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    values = pixel_values(stripes, 16)
    assert values.shape == (1, 3, 16, 16)
    assert values[0, 0].std() < 1e-6  # every point sees the same two stripes
    grey = pixel_values(np.full((9, 9, 3), 255, np.uint8), 4)
    np.testing.assert_allclose(grey[0, :, 2, 2], [1.9303, 2.0749, 2.1459], atol=1e-3)


def likely(*tokens):
    """Logits of 100 words of which these are likely."""
    logits = torch.full((END + 1,), -20.0)
    logits[list(tokens)] = 10.0
    return logits


def test_a_caption_does_not_end_too_soon():
    chance = torch.Generator().manual_seed(0)
    logits = likely(END)
    logits[7] = 5.0
    assert drawn(logits, [1] * 9, chance) == 7
    assert drawn(logits, [1] * 10, chance) == END


def test_words_that_were_there_are_less_likely():
    logits = likely(5)
    logits[6] = 9.5  # 10 / 1.1 is less
    draws = [drawn(logits, [5] * 12, torch.Generator().manual_seed(seed)) for seed in range(200)]
    assert 0.4 < draws.count(6) / 200 < 0.8  # softmax(9.5, 9.09): 0.6
    negative = torch.full((END + 1,), -1.0)
    negative[5] = -0.95  # × 1.1 is less
    assert 5 not in [drawn(negative, [5] * 12, torch.Generator().manual_seed(seed)) for seed in range(50)]


def test_the_unlikely_tenth_is_never_drawn():
    logits = torch.full((END + 1,), -30.0)
    logits[:3] = torch.tensor([0.6, 0.31, 0.09]).log()
    draws = {drawn(logits, [50] * 12, torch.Generator().manual_seed(seed)) for seed in range(200)}
    assert draws == {0, 1}


def test_word_pieces_are_berts():
    assert tokenizer().encode("A picture of ").ids == [101, 1037, 3861, 1997, 102]
    assert tokenizer().encode("eye. hair.").ids == [101, 3239, 1012, 2606, 1012, 102]
    assert tokenizer().decode([1037, 2450, 1999, 1037, 2417, 4377]) == "a woman in a red dress"


def test_a_file_that_is_no_captioner_is_named(tmp_path):
    torch.save({"some": torch.zeros(1)}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"odd\.pth cannot be used as a captioner"):
        Captioner.load(tmp_path / "odd.pth", CPU)
