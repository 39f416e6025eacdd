"""Texts to conditioning: which hidden state, how emphasis moves it, what is summed."""

from copy import deepcopy

import pytest
import torch

from engine.gpu.upcast import UPCAST
from engine.interruption import Stopped
from engine.models import weight_names
from engine.models.checkpoint import load_checkpoint, read_tensors
from engine.models.text_encoders import AT_ONCE, TextEncoders
from engine.prompt.tokens import END, PAD_G, PAD_L, START, Tokenizer

RED, CAT = 736, 2368


@pytest.fixture(scope="module")
def encoders(toy):
    """The toy checkpoint's text encoders: 3 layers of width 16 and 2 of width 32."""
    return load_checkpoint(toy, torch.device("cpu")).text_encoders


@pytest.fixture(scope="module")
def layers_of(encoders):
    """Runs an encoder by hand: its hidden states before each layer and after the last, and the final norm of that."""

    def run(encoder, ids):
        states = []
        hooks = [
            layer.register_forward_hook(lambda _m, given, out: states.append((given[0], out)))
            for layer in encoder.module.encoder.layers
        ]
        with torch.inference_mode():
            final = encoder.module(torch.tensor([ids])).final
        for hook in hooks:
            hook.remove()
        return [*(before for before, _ in states), states[-1][1]], final

    return run


def ids(pad):
    return [START, RED, CAT, END, *[pad] * 73]


@pytest.mark.parametrize("clip_skip", [1, 2, 3])
def test_clip_skip_counts_back_from_the_last_layer_before_its_norm(encoders, layers_of, clip_skip):
    context = encoders.encode(["red cat"], 1, clip_skip).context
    left = layers_of(encoders.clip_l, ids(PAD_L))[0][-clip_skip]
    right_states, right_final = layers_of(encoders.clip_g, ids(PAD_G))
    right = right_states[-clip_skip] if clip_skip <= 2 else right_final
    assert torch.allclose(context, torch.cat([left, right], dim=-1), atol=1e-6)


def test_a_skip_beyond_both_encoders_takes_the_last_state_with_its_norm(encoders, layers_of):
    context = encoders.encode(["red cat"], 1, 12).context
    finals = [layers_of(encoders.clip_l, ids(PAD_L))[1], layers_of(encoders.clip_g, ids(PAD_G))[1]]
    assert torch.allclose(context, torch.cat(finals, dim=-1), atol=1e-6)


def test_the_pooled_vector_is_the_projection_at_the_first_end(encoders, layers_of):
    final = layers_of(encoders.clip_g, ids(PAD_G))[1]
    projected = final[:, 3] @ encoders.clip_g.module.text_projection.weight.float().t()
    assert torch.allclose(encoders.encode(["red cat"], 1, 2).pooled, projected, atol=1e-6)


def test_texts_follow_each_other_and_the_first_pooled_vectors_are_summed(encoders):
    single = [encoders.encode([text], 1, 2) for text in ("a cat", "a dog", "a bird")]
    together = encoders.encode(["a cat", "a dog", "a bird"], 2, 2)
    assert torch.equal(together.context, torch.cat([each.context for each in single], dim=1))
    assert torch.equal(together.pooled, single[0].pooled + single[1].pooled)


def test_a_long_text_has_several_chunks_and_the_first_ones_pooled_vector(encoders):
    long = encoders.encode([" ".join(["cat"] * 76)], 1, 2)
    first = encoders.encode([" ".join(["cat"] * 75)], 1, 2)
    assert long.context.shape == (1, 154, 48)
    assert torch.allclose(long.pooled, first.pooled, atol=1e-5)


def test_emphasis_moves_a_token_away_from_the_neutral_text_and_keeps_the_mean(encoders):
    plain, neutral = encoders.encode(["red cat"], 1, 2), encoders.encode([""], 1, 2)
    weighted = encoders.encode(["red (cat:1.5)"], 1, 2)
    for part in (slice(0, 16), slice(16, 48)):
        state, empty = plain.context[0, :, part], neutral.context[0, :, part]
        moved = state.clone()
        moved[2] = (state[2] - empty[2]) * 1.5 + empty[2]
        expected = moved * (state.mean() / moved.mean())
        assert torch.allclose(weighted.context[0, :, part], expected, atol=1e-5)
    assert torch.allclose(weighted.pooled, plain.pooled, atol=1e-5)


def test_emphasis_in_one_chunk_leaves_the_other_alone(encoders):
    text = " ".join(["cat"] * 75)
    plain, weighted = encoders.encode([text + " red"], 1, 2), encoders.encode([text + " (red:1.5)"], 1, 2)
    assert torch.allclose(plain.context[:, :77], weighted.context[:, :77], atol=1e-6)
    assert not torch.allclose(plain.context[:, 77:], weighted.context[:, 77:], atol=1e-3)


def test_a_text_is_encoded_once(encoders):
    first = encoders._of_text("seen before", 2)
    assert encoders._of_text("seen before", 2) is first
    assert encoders._of_text("seen before", 1) is not first


def test_tokens_are_those_the_tests_count_on():
    assert Tokenizer().chunks("red cat", PAD_L)[0].ids[:4] == [START, RED, CAT, END]


def test_a_long_text_is_encoded_in_parts_that_are_those_of_the_whole(encoders):
    long = encoders.encode([" ".join(["cat"] * 75 * (AT_ONCE + 2))], 1, 2)
    short = encoders.encode([" ".join(["cat"] * 75)], 1, 2)
    assert long.context.shape[1] == 77 * (AT_ONCE + 2)
    assert torch.allclose(long.context, short.context.repeat(1, AT_ONCE + 2, 1), atol=1e-5)
    assert torch.allclose(long.pooled, short.pooled, atol=1e-5)


@pytest.mark.parametrize("texts", [["a cat", "a dog", "a bird"], [" ".join(["dog"] * 75 * AT_ONCE * 3)]])
def test_encoding_can_end_between_two_texts_and_within_a_long_one(encoders, texts):
    calls = []

    def check():
        calls.append(None)
        if len(calls) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        encoders.encode([f"{text} stopped" for text in texts], 1, 2, check)


def in_fp32(encoders):
    """The same encoders as the library computes them, with every weight stored in fp32."""
    plain = {kind: library for library, kind in UPCAST.items()}
    copied = deepcopy(encoders)
    for part in (copied.clip_l, copied.clip_g):
        for layer in part.module.modules():
            layer.__class__ = plain.get(type(layer), type(layer))
        part.module.float()
    return copied


@pytest.mark.parametrize("text", ["red cat", "a (red:1.4) cat, " * 30])
@pytest.mark.parametrize("clip_skip", [1, 2, 12])
def test_weights_stored_in_fp16_give_the_bytes_of_weights_stored_in_fp32(encoders, text, clip_skip):
    known, stored_in_fp32 = encoders.encode([text], 1, clip_skip), in_fp32(encoders)
    stored_in_fp32._known.clear()
    expected = stored_in_fp32.encode([text], 1, clip_skip)
    assert torch.equal(known.context, expected.context) and torch.equal(known.pooled, expected.pooled)
    states = torch.rand(1, 77, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(encoders.final_norm_l(states), stored_in_fp32.final_norm_l(states))


def test_weights_that_a_file_holds_in_fp16_take_two_bytes_each(encoders):
    for part in (encoders.clip_l, encoders.clip_g):
        assert {weight.dtype for weight in part.module.parameters()} == {torch.float16}


def test_tables_and_the_projection_are_not_rounded_where_a_file_holds_them_in_fp32(toy):
    tensors = {name: tensor.float() * 1.0001 for name, tensor in read_tensors(toy).items()}
    left, right = (weight_names.part_of(tensors, prefix) for prefix in (weight_names.CLIP_L, weight_names.CLIP_G))
    encoders = TextEncoders.load(left, right, torch.device("cpu"))
    table = encoders.clip_l.module.embeddings.token_embedding.weight
    assert torch.equal(table, left["embeddings.token_embedding.weight"])
    weights = dict(encoders.clip_g.module.named_parameters())
    assert weights["text_projection.weight"].dtype == torch.float32
    fc1 = next(weight for name, weight in weights.items() if name.endswith("layers.0.mlp.fc1.weight"))
    assert fc1.dtype == torch.float16
