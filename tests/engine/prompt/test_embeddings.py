"""Textual inversions: where a name leads, what a file of each layout holds, and what it does to a text."""

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import CheckpointError
from engine.models.checkpoint import load_checkpoint
from engine.prompt.embeddings import Embeddings, vectors_in
from engine.prompt.tokens import END, PAD_L, START

LEFT, RIGHT = 16, 32
"""The widths of the toy checkpoint's encoders."""
CAT = 2368


def rows(seed, count, width):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_a_name_is_found_with_and_without_suffix_and_sub_folder(tmp_path):
    nice, deep = touch(tmp_path / "nice.pt"), touch(tmp_path / "sub" / "deep.safetensors")
    embeddings = Embeddings([tmp_path / "absent", tmp_path])
    assert [embeddings.find(name) for name in ("nice", "nice.pt")] == [nice, nice]
    assert [embeddings.find(name) for name in ("deep", "sub/deep", "sub\\deep", "sub/deep.safetensors")] == [deep] * 4
    assert embeddings.find("nicer") is None and embeddings.find("") is None


def test_the_outer_folder_and_safetensors_go_first(tmp_path):
    touch(tmp_path / "a" / "same.safetensors")
    touch(tmp_path / "same.pt")
    first = touch(tmp_path / "same.safetensors")
    assert Embeddings([tmp_path]).find("same") == first


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "sub/../../secret", "secret.txt", "..\\secret", "C:secret"]
)
def test_no_name_leads_out_or_to_another_kind_of_file(tmp_path, name):
    for file in ("secret.pt", "secret.txt", "inside/secret.txt"):
        touch(tmp_path / file)
    assert Embeddings([tmp_path / "inside"]).find(name) is None


def test_links_are_followed_but_never_in_circles(tmp_path):
    linked = touch(tmp_path / "elsewhere" / "far.pt")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "here")
    embeddings = Embeddings([tmp_path / "here"])
    found = embeddings.find("far")
    assert found is not None and found.samefile(linked)
    assert embeddings.find("nowhere") is None


TWO, ONE = rows(0, 2, LEFT), rows(1, 1, LEFT)
LAYOUTS = {
    "of AUTOMATIC1111": ({"string_to_token": {"*": 265}, "string_to_param": {"*": TWO}, "name": "x"}, TWO),
    "of SDXL": ({"clip_g": rows(2, 3, RIGHT), "clip_l": TWO}, TWO),
    "a list": ([{"a": TWO, "b": rows(3, 1, RIGHT)}, {"c": ONE[0]}], torch.cat([TWO, ONE])),
    "of diffusers": ({"<cat-toy>": ONE[0]}, ONE),
    "half precision": ({"emb_params": TWO.half()}, TWO.half().float()),
    "another width": ({"clip_g": rows(2, 3, RIGHT)}, torch.empty(0, LEFT)),
    "no tensor at all": ({"name": "x"}, torch.empty(0, LEFT)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vectors_are_found_in_every_layout(tmp_path, layout):
    content, expected = LAYOUTS[layout]
    torch.save(content, tmp_path / "x.pt")
    assert torch.equal(vectors_in(torch.load(tmp_path / "x.pt", weights_only=True), "clip_l", LEFT), expected)


def test_a_file_that_is_none_is_told_by_name(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    torch.save([Evil()], tmp_path / "evil.pt")
    for name in ("broken.safetensors", "evil.pt"):
        with pytest.raises(CheckpointError, match=f"{name} is not readable"):
            Embeddings([tmp_path]).vectors(tmp_path / name, "clip_l", LEFT)


@pytest.fixture
def encoders(toy, tmp_path):
    """The toy's encoders, with embeddings in the test's folder."""
    encoders = load_checkpoint(toy, torch.device("cpu")).text_encoders
    encoders.embeddings = Embeddings([tmp_path])
    return encoders


def of_words(encoders, *ids):
    """An embedding file's content that says what these tokens say."""
    tables = {part.name: part.module.embeddings.token_embedding.weight for part in (encoders.clip_l, encoders.clip_g)}
    return {name: table[list(ids)].clone() for name, table in tables.items()}


def test_an_embedding_of_words_says_what_the_words_say(encoders, tmp_path):
    save_file(of_words(encoders, 736, CAT), tmp_path / "redcat.safetensors")
    for spelt, words in (
        ("a embedding:redcat, sat", "a red cat, sat"),
        ("a (embedding:redcat:1.3) sat", "a (red cat:1.3) sat"),
    ):
        found, expected = encoders.encode([spelt], 1, 2), encoders.encode([words], 1, 2)
        assert torch.allclose(found.context, expected.context, atol=1e-5)
        assert torch.allclose(found.pooled, expected.pooled, atol=1e-5)
    assert encoders.embedding_notes(["a embedding:redcat, sat", "a cat"]) == []


def test_the_pooled_vector_is_that_of_the_first_end_behind_a_vector_that_is_an_ends(encoders, tmp_path):
    save_file(of_words(encoders, END), tmp_path / "end.safetensors")
    shifted = encoders.encode(["embedding:end cat"], 1, 2).pooled
    assert not torch.allclose(shifted, encoders.encode([""], 1, 2).pooled, atol=1e-3)


def test_an_encoder_that_an_embedding_does_not_fit_reads_the_text_without_it(encoders, tmp_path):
    save_file({"clip_l": of_words(encoders, CAT)["clip_l"]}, tmp_path / "left.safetensors")
    context = encoders.encode(["a embedding:left sat"], 1, 2).context
    with_cat, without = (encoders.encode([text], 1, 2).context for text in ("a cat sat", "a sat"))
    assert torch.allclose(context[..., :LEFT], with_cat[..., :LEFT], atol=1e-5)
    assert torch.allclose(context[..., LEFT:], without[..., LEFT:], atol=1e-5)
    (note,) = encoders.embedding_notes(["a embedding:left sat"])
    assert "left.safetensors has no vectors 32 wide, as clip_g" in note


def test_an_encoder_with_fewer_chunks_is_given_an_empty_one(encoders, tmp_path):
    save_file({"clip_l": rows(0, 80, LEFT)}, tmp_path / "long.safetensors")
    context = encoders.encode(["embedding:long"], 1, 2).context
    empty = encoders.encode([""], 1, 2).context
    assert context.shape == (1, 154, LEFT + RIGHT)
    assert torch.allclose(context[:, 77:, LEFT:], empty[..., LEFT:], atol=1e-5)


def test_unknown_embeddings_are_told_once_each_and_many_in_a_sentence(encoders, caplog):
    texts = ["embedding:gone, embedding:\x1b[31mred " + "embedding:gone " * 50, "embedding:gone"]
    encoders.encode(texts, 1, 2)
    notes = encoders.embedding_notes(texts)
    assert notes == [f"There is no embedding called {name}; it is ignored" for name in ("gone", "\\x1b[31mred")]
    assert [record.getMessage() for record in caplog.records] == notes
    many = encoders.embedding_notes([" ".join(f"embedding:x{number}" for number in range(1, 500))])
    assert len(many) == 9 and many[-1] == "491 more embeddings are not there or do not fit; they are ignored"
    assert max(map(len, encoders.embedding_notes(["embedding:" + "y" * 9000]))) < 200


def test_a_changed_file_and_a_new_one_are_seen(encoders, tmp_path):
    text = "embedding:word"
    unknown = encoders.encode([text], 1, 2).context
    assert encoders.embedding_notes([text + ","]) == ["There is no embedding called word; it is ignored"]
    save_file(of_words(encoders, CAT), tmp_path / "word.safetensors")
    cat = encoders.encode([text], 1, 2).context
    save_file(of_words(encoders, 736, CAT), tmp_path / "word.safetensors")
    red_cat = encoders.encode([text], 1, 2).context
    assert torch.equal(unknown, encoders.encode([""], 1, 2).context)
    assert torch.allclose(cat, encoders.encode(["cat"], 1, 2).context, atol=1e-5)
    assert torch.allclose(red_cat, encoders.encode(["red cat"], 1, 2).context, atol=1e-5)


def test_after_an_embedding_the_encoder_is_as_it_was(encoders, tmp_path):
    save_file({"clip_l": rows(0, 1, LEFT), "clip_g": rows(1, 1, RIGHT)}, tmp_path / "x.safetensors")
    ids = torch.tensor([[START, CAT, END, *[PAD_L] * 74]])
    with torch.inference_mode():
        before = encoders.clip_l.module(ids).final
        encoders.encode(["embedding:x"], 1, 2)
        assert torch.equal(encoders.clip_l.module(ids).final, before)
