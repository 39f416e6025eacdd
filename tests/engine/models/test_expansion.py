"""Prompt expansion by a small random GPT-2 over a list of words made here."""

import json
import math

import pytest
import torch
from transformers import LogitsProcessor

from benchmarks.step_parts import one_by_one
from engine.errors import CheckpointError
from engine.models.expansion import CONFIG, MERGES, MODEL, NEVER, VOCABULARY, WORDS, Expansion
from engine.models.expansion_decoding import Decoder, WordChoice
from engine.prompt.lines import cleaned
from tests.expansion_files import LISTED, expansion_files, librarys

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of an expansion."""
    return expansion_files(tmp_path_factory.mktemp("expansion"))


@pytest.fixture(scope="module")
def expansion(folder):
    return Expansion.load(folder, CPU)


@pytest.fixture(scope="module")
def library(folder):
    """The same model by the library."""
    return librarys(folder)


class OnlyListed(LogitsProcessor):
    """The rule of the words, written anew for the library's own loop."""

    def __init__(self, expansion):
        self.listed = [expansion.tokenizer.token_to_id(f"Ġ{word}") for word in LISTED]
        self.comma = expansion.tokenizer.token_to_id(",")

    def __call__(self, input_ids, scores):
        allowed = (set(self.listed) - set(input_ids[0].tolist())) | {self.comma}
        bias = [0.0 if token in allowed else NEVER for token in range(scores.shape[-1])]
        return scores + torch.tensor(bias)


def of_the_librarys_loop(library, expansion, text, seed):
    """The same draws by `generate`, from the global generator."""
    ids = expansion.tokenizer.encode(cleaned(text) + ",").ids
    given = torch.tensor([ids])
    torch.manual_seed(seed)
    drawn = library.generate(
        given,
        attention_mask=torch.ones_like(given),
        do_sample=True,
        top_k=100,
        max_new_tokens=75 * math.ceil(len(ids) / 75) - len(ids),
        logits_processor=[OnlyListed(expansion)],
    )
    return cleaned(expansion.tokenizer.decode(drawn[0].tolist()))


@pytest.mark.parametrize("seed", [0, 12345, 2**32 - 1])
def test_words_are_drawn_as_the_librarys_sampling_draws_them(library, expansion, seed):
    assert expansion.expand("a red cat", seed) == of_the_librarys_loop(library, expansion, "a red cat", seed)


def test_a_seed_counts_modulo_two_to_the_32(expansion):
    assert expansion.expand("a cat", 2**32 + 5) == expansion.expand("a cat", 5) != expansion.expand("a cat", 6)


def test_the_global_generator_is_left_alone(expansion):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    expansion.expand("a cat", 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_only_listed_words_are_added_each_once(expansion):
    text = expansion.expand("xy ab, zz", 7)
    assert text.startswith("xy ab, zz,")
    added = text.removeprefix("xy ab, zz").replace(",", " ").split()
    assert set(added) <= set(LISTED) - {"ab"} and len(set(added)) == len(added) > 20


@torch.inference_mode()
def test_the_text_is_filled_up_to_whole_chunks(expansion):
    for text in ("a cat", "q" * 80):
        begun = {(text, 1): expansion._begun(text, 1)}
        assert len(expansion._drawn(begun, lambda: None)[text, 1]) % 75 == 0


@pytest.mark.parametrize(("text", "expected"), [("", ""), ("q" * 74, "q" * 74), ("q" * 160, "q" * 160)])
def test_nothing_is_added_to_nothing_to_a_full_chunk_or_beyond_the_models_reach(expansion, text, expected):
    assert expansion.expand(text, 1) == expected


def test_a_prompt_the_last_chunk_of_which_is_beyond_reach_is_filled_as_far_as_it_goes(expansion):
    text = expansion.expand("q" * 151, 1)
    assert text.startswith("q" * 151 + ",") and len(text) > 152


def test_spaces_before_marks_are_closed_up_as_decoding_does(expansion):
    assert expansion.expand("it 's a cat , red !", 1).startswith("it's a cat, red!,")


@torch.inference_mode()
def test_logits_that_equal_the_last_that_counts_may_be_drawn(expansion):
    decoder = Decoder(expansion.model, WordChoice(expansion.choice.bias, NEVER, 0, top_k=2), rows=1, length=150)
    logits, drawn = torch.full((1, len(decoder.words)), -9.0), set()
    logits[0, 5:9] = torch.tensor([3.0, 2.5, 2.5, 0.0])
    for seed in range(40):
        decoder.allowed.zero_()
        decoder.noise.exponential_(1, generator=torch.Generator().manual_seed(seed))
        decoder._draw(logits)
        drawn.add(int(decoder.tokens))
    assert drawn == {5, 6, 7}


@torch.inference_mode()
@pytest.mark.parametrize("top_k", [20, 100], ids=["the list alone", "all tokens"])
def test_steps_of_fixed_places_draw_what_a_growing_cache_does(library, expansion, top_k):
    choice = WordChoice(expansion.choice.bias, NEVER, expansion.choice.again, top_k)
    texts = [expansion._begun("a red cat", 3), expansion._begun("xy ab, zz", 4)]
    decoder = Decoder(expansion.model, choice, rows=3, length=75)
    assert (len(decoder.words) < len(choice.bias)) == (top_k == 20)
    assert decoder.drawn(texts) == [one_by_one(library, choice, text) for text in texts]


def test_texts_beside_a_text_change_none_of_its_words(folder):
    texts = [("a red cat", 1), ("a red cat", 2), ("q" * 80, 3), ("xy ab, zz", 4), ("", 5), ("a red cat", 1)]
    alone = [Expansion.load(folder, CPU).expand(*text) for text in texts]
    together = Expansion.load(folder, CPU)
    together.rows = 3
    assert together.expand_all(texts) == alone and len(set(alone)) == 5


def test_known_words_are_not_drawn_again(expansion, monkeypatch):
    first = expansion.expand_all([("a blue cat", 1), ("a blue cat", 2)])
    monkeypatch.setattr(expansion, "_decoder", None)
    assert expansion.expand_all([("a blue cat", 2), ("a blue cat", 1)]) == first[::-1]


def test_a_text_alone_is_computed_as_among_others(folder, monkeypatch):
    rows, drawn = [], Decoder.drawn
    monkeypatch.setattr(Decoder, "drawn", lambda self, texts: rows.append(len(self.tokens)) or drawn(self, texts))
    for texts in ([("a red cat", 1)], [("a red cat", 1), ("a red cat", 2), ("a blue cat", 1)]):
        expansion = Expansion.load(folder, CPU)
        expansion.rows = 3
        expansion.expand_all(texts)
    assert rows == [3, 3]  # matrices of other sizes round otherwise on a GPU


def test_a_stop_comes_between_texts(folder):
    def stopped():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        Expansion.load(folder, CPU).expand_all([("a cat", 1)], stopped)


def test_its_size_is_that_of_its_weights_the_table_counted_once(expansion, folder):
    table = expansion.model.transformer.wte.weight
    assert expansion.model.lm_head.weight is table
    assert expansion.size == sum(weight.nbytes for weight in expansion.model.parameters())


def test_missing_files_are_told(folder, tmp_path):
    assert Expansion.missing(folder) == []
    assert Expansion.missing(tmp_path) == [MODEL, CONFIG, VOCABULARY, MERGES, WORDS]
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin, config\.json"):
        Expansion.load(tmp_path, CPU)


def test_unfit_files_are_told(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({"transformer.wte.weight": torch.zeros(3, 3)}, tmp_path / MODEL)
    with pytest.raises(CheckpointError, match="Prompt expansion cannot use"):
        Expansion.load(tmp_path, CPU)


@pytest.mark.parametrize(
    "changes", [{"model_type": "bert"}, {"activation_function": "relu"}, {"n_inner": 40}, {"n_head": 3}], ids=str
)
def test_a_model_that_computes_otherwise_is_refused(folder, tmp_path, changes):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / CONFIG).write_text(json.dumps(json.loads((folder / CONFIG).read_text()) | changes))
    with pytest.raises(CheckpointError, match="Prompt expansion cannot use"):
        Expansion.load(tmp_path, CPU)
