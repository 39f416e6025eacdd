"""CLIP's tokens, in chunks of 77."""

import subprocess
import sys

import pytest

from engine.prompt.tokens import END, PAD_G, PAD_L, STAND_IN, START, Tokenizer, embedding_names


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer()


def ids(tokenizer, text):
    """The tokens between start and end of a text of one chunk."""
    (chunk,) = tokenizer.chunks(text, PAD_G)
    return chunk.ids[1 : chunk.ids.index(END)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),
        ("hello world", [3306, 1002]),
        ("Hello  WORLD", [3306, 1002]),
        ("a cat, dog", [320, 2368, 267, 1929]),
        ("don't", [847, 713]),
        ("café cafe\u0301", [15304, 15304]),
        ("日本語", [37156, 19277, 361, 34002, 508]),
        ("123", [272, 273, 274]),
        ("a\x00\u200bb", [3937]),
        ("", []),
    ],
)
def test_a_text_has_the_tokens_clip_gives_it(tokenizer, text, expected):
    assert ids(tokenizer, text) == expected


def test_emphasis_weighs_tokens_and_nothing_else(tokenizer):
    for pad in (PAD_L, PAD_G):
        (chunk,) = tokenizer.chunks("a cat, (dog:1.3)", pad)
        assert chunk.ids == [START, 320, 2368, 267, 1929, END, *[pad] * 71]
        assert chunk.weights == [1, 1, 1, 1, 1.3, *[1] * 72]


def test_an_empty_text_is_one_chunk(tokenizer):
    (chunk,) = tokenizer.chunks("", PAD_L)
    assert chunk.ids == [START, *[END] * 76]
    assert chunk.weights == [1.0] * 77


def test_76_words_need_a_second_chunk(tokenizer):
    first, second = tokenizer.chunks(" ".join(["cat"] * 76), PAD_G)
    assert first.ids == [START, *[2368] * 75, END]
    assert second.ids == [START, 2368, END, *[PAD_G] * 74]


def test_a_short_word_moves_to_the_next_chunk_whole(tokenizer):
    first, second = tokenizer.chunks("cat " * 73 + "12345", PAD_G)
    assert first.ids[-5:] == [2368, 2368, END, PAD_G, PAD_G]
    assert second.ids[1:7] == [*range(272, 277), END]


def test_a_long_word_is_cut(tokenizer):
    first, second = tokenizer.chunks("cat " * 73 + f"({'1' * 17}:1.2)", PAD_G)
    assert first.ids[-4:] == [2368, 272, 272, END]
    assert first.weights[-4:] == [1, 1.2, 1.2, 1]
    assert second.ids[1:17] == [*[272] * 15, END]


def test_a_very_long_word_fills_many_chunks(tokenizer):
    chunks = tokenizer.chunks("1" * 200, PAD_G)
    assert [chunk.ids.index(END) for chunk in chunks] == [76, 76, 51]
    assert all(len(chunk.ids) == len(chunk.weights) == 77 for chunk in chunks)


def test_an_unknown_embedding_is_ignored(tokenizer):
    assert ids(tokenizer, "a embedding:nice, cat") == [320, 267, 2368]


def test_the_embeddings_a_text_names_are_known_beforehand():
    assert embedding_names("a embedding:nice, (embedding:sub/other:1.2) cat") == ["nice,", "sub/other"]


KNOWN = {"nice": ["v1", "v2"], "odd,name,": ["w"], "big": [f"b{n}" for n in range(80)], "wide": []}


@pytest.mark.parametrize(
    ("text", "ids", "vectors", "weights"),
    [
        ("a embedding:nice, cat", [320, STAND_IN, STAND_IN, 267, 2368], {2: "v1", 3: "v2"}, {}),
        ("embedding:odd,name, cat", [STAND_IN, 2368], {1: "w"}, {}),
        ("(embedding:nice:1.2) cat", [STAND_IN, STAND_IN, 2368], {1: "v1", 2: "v2"}, {1: 1.2, 2: 1.2}),
        ("(embedding:nice)", [STAND_IN, STAND_IN], {1: "v1", 2: "v2"}, {1: 1.1, 2: 1.1}),
        ("embedding:wide, cat", [267, 2368], {}, {}),
    ],
)
def test_each_vector_of_an_embedding_takes_a_tokens_place(tokenizer, text, ids, vectors, weights):
    (chunk,) = tokenizer.chunks(text, PAD_L, KNOWN.get)
    assert chunk.ids == [START, *ids, END, *[PAD_L] * (75 - len(ids))]
    assert chunk.vectors == vectors
    assert chunk.weights == [weights.get(place, 1.0) for place in range(77)]


def test_a_large_embedding_is_cut_as_a_long_word_is(tokenizer):
    first, second = tokenizer.chunks("embedding:big cat", PAD_G, KNOWN.get)
    assert (first.vectors[1], first.vectors[75], first.ids[76]) == ("b0", "b74", END)
    assert second.vectors == {n: f"b{74 + n}" for n in range(1, 6)}
    assert second.ids[6:8] == [2368, END]


def test_the_prompt_stage_needs_no_torch():
    code = "import sys, engine.prompt.texts, engine.prompt.tokens; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
