"""GPT-2 beside the library's, and the sizes that a `config.json` gives."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from engine.models.gpt2 import Gpt2, Gpt2Sizes, gelu_new, looked_up


@pytest.mark.parametrize("tokens", [1, 2, 9])
@pytest.mark.parametrize("heads", [1, 4])
@torch.inference_mode()
def test_it_gives_the_bytes_of_the_librarys(tokens, heads):
    torch.manual_seed(heads)
    config = GPT2Config(n_embd=32, n_head=heads, n_layer=3, n_positions=16, vocab_size=50, attn_implementation="sdpa")
    theirs = GPT2LMHeadModel(config).eval()
    ours = Gpt2(Gpt2Sizes.of_config(config.to_dict())).eval()
    ours.load_state_dict(theirs.state_dict())
    ours.tie()
    texts = torch.randint(50, (2, tokens))
    expected, found = theirs(input_ids=texts, use_cache=True, logits_to_keep=1), ours(texts)
    assert torch.equal(found.logits, expected.logits[:, -1])
    assert len(found.caches) == 3
    for (keys, values), layer in zip(found.caches, expected.past_key_values.layers, strict=True):
        assert torch.equal(keys, layer.keys) and torch.equal(values, layer.values)


def test_what_a_config_leaves_out_is_the_smallest_gpt2s():
    assert Gpt2Sizes.of_config({"model_type": "gpt2"}) == Gpt2Sizes.of_config(GPT2Config().to_dict()) == Gpt2Sizes()


def test_another_model_is_refused():
    with pytest.raises(ValueError, match=r"no plain GPT-2: .*'scale_attn_by_inverse_layer_idx': True"):
        Gpt2Sizes.of_config({"scale_attn_by_inverse_layer_idx": True})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_activations_read_off_a_table_are_the_same_bits(dtype):
    every = torch.arange(-1 << 15, 1 << 15).to(torch.int16).view(dtype).reshape(2, 4, -1)
    found = looked_up(gelu_new, dtype, torch.device("cpu"))(every)
    assert torch.equal(found.view(torch.int16), gelu_new(every).view(torch.int16))


@torch.inference_mode()
def test_a_model_with_tables_gives_the_same_logits():
    torch.manual_seed(0)
    model = Gpt2(Gpt2Sizes(width=32, heads=4, layers=2, positions=16, vocabulary=50)).to(torch.bfloat16).eval()
    for weight in model.parameters():
        weight.normal_(std=0.3)
    texts = torch.randint(50, (2, 7))
    expected = model(texts).logits
    model.look_up_activations()
    assert torch.equal(model(texts).logits, expected)
