"""The size of a prompt is that of what the encoders are given, counted without torch."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from engine.models.checkpoint import load_checkpoint
from engine.params import GenerateParams
from engine.prompt.embeddings import Embeddings
from engine.prompt.prompt_size import ROOM, PromptSize, prompt_size
from engine.prompt.styles import Styles
from engine.prompt.texts import picture_texts
from engine.prompt.wildcards import Wildcards
from schemas.generate import DEFAULTS
from tests.engine.prompt.test_embeddings import LAYOUTS, LEFT, RIGHT

WIDTHS = {"clip_l": LEFT, "clip_g": RIGHT}


@pytest.fixture(scope="module")
def loaded(toy):
    """The toy's encoders."""
    return load_checkpoint(toy, torch.device("cpu")).text_encoders


@pytest.fixture
def encoders(loaded, tmp_path):
    """The toy's encoders, with embeddings in the test's folder."""
    loaded.embeddings = Embeddings([tmp_path])
    return loaded


def encoded(encoders, prompt):
    """What the engine reads of a prompt: tokens of the longer encoder, and chunks."""
    params = GenerateParams.from_dict({**DEFAULTS, "prompt": prompt, "style_selections": [], "image_number": 1})
    (texts,) = picture_texts(params, Styles(), Wildcards([]))
    context = encoders.encode(texts.positive, texts.positive_top_k, 2).context
    groups = [
        [encoders.tokenizer.groups(text, encoders._lookup(part)) for text in texts.positive]
        for part in (encoders.clip_l, encoders.clip_g)
    ]
    tokens = max(sum(len(tokens) for text in side for tokens, _ in text) for side in groups)
    return PromptSize(tokens, context.shape[1] // 77)


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "a cat",
        "a (very (fluffy:1.3) cat), ((masterpiece))",
        "a cat <lora:detail:0.8>, <lora:other:1>, on a [[red, dark blue]] mat",
        "first line, of two\nsecond line",
        "short, " * 60,
        "x" * 500,
        "一只猫坐在垫子上",
        "a \\(plain\\) parenthesis ) and (one that stays open",
        "embedding:nice, embedding:nowhere, (embedding:wide:0.9),, embedding:long cat",
    ],
)
def test_it_is_what_the_encoders_are_given(encoders, tmp_path, prompt):
    save_file({"clip_l": torch.zeros(3, LEFT), "clip_g": torch.zeros(5, RIGHT)}, tmp_path / "nice.safetensors")
    save_file({"emb_params": torch.zeros(2, 768)}, tmp_path / "wide.safetensors")
    torch.save({"string_to_param": {"*": torch.zeros(90, LEFT)}}, tmp_path / "long.pt")
    assert prompt_size(prompt, [tmp_path], WIDTHS) == encoded(encoders, prompt)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vectors_of_every_layout_are_counted(encoders, tmp_path, layout):
    content, expected = LAYOUTS[layout]
    torch.save(content, tmp_path / "x.pt")
    assert prompt_size("embedding:x", [tmp_path], {"clip_l": LEFT}).tokens == len(expected)


def test_the_tensors_of_a_parameter_dict_are_counted(tmp_path):
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.zeros(4, 768))})
    torch.save({"string_to_param": parameters}, tmp_path / "x.pt")
    assert prompt_size("embedding:x", [tmp_path]) == PromptSize(4, 1)


def test_a_chunk_more_is_begun_with_the_first_token_that_has_no_room():
    assert prompt_size("cat " * ROOM, []) == PromptSize(ROOM, 1)
    assert prompt_size("cat " * (ROOM + 1), []) == PromptSize(ROOM + 1, 2)


def test_folders_are_listed_once_whatever_number_of_embeddings_a_prompt_names(tmp_path, monkeypatch):
    for number in range(3):
        (tmp_path / f"sub{number}").mkdir()
    save_file({"clip_l": torch.zeros(3, 768)}, tmp_path / "sub2" / "nice.safetensors")
    listed, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda place: listed.append(place) or scandir(place))
    prompt = "embedding:nice " + " ".join(f"embedding:{number}," for number in range(50)) + " cat"
    assert prompt_size(prompt, [tmp_path]) == PromptSize(54, 1)
    assert len(listed) == 4
    listed.clear()
    prompt_size("a cat", [tmp_path])
    assert listed == []


def test_it_is_counted_without_torch():
    program = "import sys; from engine.prompt import prompt_size; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
