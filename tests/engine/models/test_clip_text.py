"""Our text transformer beside transformers' own: the same names of weights, the same bytes."""

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.models.clip_text import ClipTextModel, ClipTextSizes

END = 99


def sizes(activation, projection=None, heads=4):
    return ClipTextSizes(100, 77, 64, heads, 3, 96, activation, END, projection)


def library_model(of):
    """The library's model of these sizes, with random weights."""
    config = CLIPTextConfig(
        vocab_size=of.vocabulary,
        hidden_size=of.width,
        num_attention_heads=of.heads,
        num_hidden_layers=of.layers,
        intermediate_size=of.inner,
        max_position_embeddings=of.places,
        hidden_act=of.activation,
        bos_token_id=98,
        eos_token_id=of.end,
        pad_token_id=of.end,
        projection_dim=of.projection or 512,
    )
    torch.manual_seed(of.heads)
    return (CLIPTextModel if of.projection is None else CLIPTextModelWithProjection)(config).eval()


def texts(rows=3):
    """Token ids that end at different places, padded with the token that ends them or with another."""
    ids = torch.randint(0, 98, (rows, 77), generator=torch.Generator().manual_seed(1))
    for row, end in enumerate((10, 40, 70)[:rows]):
        ids[row, end:] = END if row % 2 else 0
        ids[row, end] = END
    return ids


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("projection", [None, 48])
@torch.inference_mode()
def test_it_gives_the_bytes_of_the_librarys(activation, heads, projection):
    of = sizes(activation, projection, heads)
    theirs, ours = library_model(of), ClipTextModel(of).eval()
    weights = {name.removeprefix("text_model."): weight for name, weight in theirs.state_dict().items()}
    ours.load_state_dict({name: weight for name, weight in weights.items() if not name.endswith("position_ids")})
    expected, found = theirs(input_ids=texts(), output_hidden_states=True), ours(texts())
    assert len(found.states) == of.layers + 1
    for ours_state, theirs_state in zip(found.states, expected.hidden_states, strict=True):
        assert torch.equal(ours_state, theirs_state)
    assert torch.equal(found.final, expected.last_hidden_state)
    assert found.pooled is None if projection is None else torch.equal(found.pooled, expected.text_embeds)


@torch.inference_mode()
def test_other_vectors_stand_where_they_are_put():
    model, ids = ClipTextModel(sizes("gelu")).eval(), texts(1)
    table = model.embeddings.token_embedding.weight
    same = ids.clone()
    same[0, 5] = 7

    def replaced(embedded):
        assert torch.equal(embedded, table[ids])
        embedded = embedded.clone()
        embedded[0, 5] = table[7]
        return embedded

    assert torch.equal(model(ids, replaced).final, model(same).final)
    assert not torch.equal(model(ids).final, model(same).final)
