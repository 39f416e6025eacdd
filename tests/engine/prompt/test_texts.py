"""From a request to each picture's texts."""

from random import Random

import pytest

from engine.params import MAX_SEED, Lora
from engine.prompt.styles import Styles
from engine.prompt.texts import picture_texts
from engine.prompt.wildcards import Wildcards


@pytest.fixture(scope="module")
def styles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("styles")
    (folder / "mine.json").write_text(
        """[{"name": "oil", "prompt": "{prompt} in oil", "negative_prompt": "photo"},
            {"name": "ink", "prompt": "{prompt} in ink", "negative_prompt": ""},
            {"name": "neat", "negative_prompt": "messy"}]"""
    )
    return Styles([folder])


@pytest.fixture
def texts(request_of, styles):
    """`texts(prompt=…, …)` gives the request's pictures' texts."""

    def build(lora_files=(), **members):
        return picture_texts(request_of(**members), styles, Wildcards(), lora_files)

    return build


def test_without_styles_a_prompt_is_its_own_text(texts):
    (picture,) = texts(prompt="a cat", negative_prompt="a dog")
    assert (picture.positive, picture.negative) == (["a cat"], ["a dog"])
    assert (picture.positive_top_k, picture.negative_top_k) == (1, 1)
    assert not picture.expand


def test_each_style_with_a_slot_gives_a_text_of_its_own(texts):
    (picture,) = texts(prompt="a cat\nblue", negative_prompt="a dog\nrain", style_selections=("Oil", "Neat", "Ink"))
    assert picture.positive == ["a cat in oil", "a cat in ink", "blue"]
    assert picture.negative == ["photo", "messy", "a dog", "rain"]
    assert (picture.positive_top_k, picture.negative_top_k) == (3, 4)
    assert (picture.prompt, picture.negative_prompt) == ("a cat\nblue", "a dog\nrain")


def test_styles_without_a_slot_leave_the_prompt_in_front(texts):
    (picture,) = texts(prompt="a cat", style_selections=("Neat",))
    assert (picture.positive, picture.negative) == (["a cat"], ["messy"])


def test_empty_texts_are_dropped_until_one_is_left(texts):
    (picture,) = texts(prompt="", negative_prompt="")
    assert (picture.positive, picture.negative, picture.negative_top_k) == ([""], [""], 1)
    (picture,) = texts(prompt="", style_selections=("Oil",))
    assert (picture.positive, picture.negative) == ([" in oil"], ["photo"])


def test_the_expansion_style_is_a_switch_and_no_style(texts):
    (picture,) = texts(prompt="a cat", style_selections=("Fooocus V2", "Oil"))
    assert (picture.expand, picture.styles, picture.prompt_line) == (True, ["Oil"], "a cat")
    (picture,) = texts(prompt=" , ", style_selections=("Fooocus V2",))
    assert not picture.expand


def test_a_prompt_of_tags_alone_still_asks_for_expansion(texts):
    (picture,) = texts(prompt="<lora:foo:1>", style_selections=("Fooocus V2",))
    assert (picture.expand, picture.positive) == (True, [""])


def test_pictures_count_their_seeds_up(texts):
    assert [picture.seed for picture in texts(prompt="x", image_number=3, image_seed=7)] == [7, 8, 9]
    wrapped = texts(prompt="x", image_number=2, image_seed=MAX_SEED)
    assert [picture.seed for picture in wrapped] == [MAX_SEED, 0]
    fixed = texts(prompt="x", image_number=3, image_seed=7, disable_seed_increment=True)
    assert [picture.seed for picture in fixed] == [7, 7, 7]


def test_each_seed_draws_a_random_style_of_its_own(texts, styles):
    pictures = texts(prompt="x", image_number=4, image_seed=5, style_selections=("Random Style", "Random Style"))
    for picture in pictures:
        random, names = Random(picture.seed), styles.template_names()
        assert picture.styles == [random.choice(names), random.choice(names)]


def test_both_first_lines_draw_their_words_before_the_other_lines_and_styles(texts, styles):
    (picture,) = texts(
        prompt="__color__\n__animal__",
        negative_prompt="__flower__\n__nationality__",
        style_selections=("Random Style",),
        image_seed=3,
    )
    random, wildcards = Random(3), Wildcards()
    words = {name: random.choice(wildcards.words(name)) for name in ("color", "flower", "animal", "nationality")}
    assert picture.prompt == f"{words['color']}\n{words['animal']}"
    assert picture.negative_prompt == f"{words['flower']}\n{words['nationality']}"
    assert picture.styles == [random.choice(styles.template_names())]


def test_words_and_arrays_go_by_the_pictures_index_not_its_seed(texts):
    pictures = texts(
        prompt="__color__ [[a, b]]\n[[a,b]]",
        image_number=3,
        image_seed=100,
        read_wildcards_in_order=True,
        disable_seed_increment=True,
    )
    assert [picture.prompt_line for picture in pictures] == ["aqua a", "black  b", "blue a"]
    assert pictures[1].positive == ["black  b", "[[a,b]]"]


def test_tags_of_the_first_line_name_loras(texts):
    files = ["sub/foo.safetensors", "bar.safetensors", "sdxl_lcm_lora.safetensors"]
    first, second = texts(
        files,
        prompt="a cat <lora:foo:0.5> <lora:bar:1> <lora:sdxl_lcm_lora:1>\nblue <lora:foo:1>",
        negative_prompt="<lora:foo:1>",
        loras=(Lora(True, "bar.safetensors", 0.2), Lora(False, "sub/foo.safetensors", 1.0)),
        performance_selection="Extreme Speed",
        image_number=2,
    )
    assert first.loras == second.loras == [("sub/foo.safetensors", 0.5)]
    assert first.positive == ["a cat", "blue <lora:foo:1>"]
    assert first.negative == ["<lora:foo:1>"]


def test_a_wildcard_that_is_not_there_is_noted(texts):
    (picture,) = texts(prompt="a __colr__ cat, __color__", negative_prompt="__nothing__")
    assert picture.prompt.startswith("a colr cat")
    assert [note.split(",")[0] for note in picture.notes] == [
        "There is no wildcard colr",
        "There is no wildcard nothing",
    ]


def test_a_lora_tag_that_is_only_text_is_noted(request_of, styles, tmp_path):
    (tmp_path / "look.txt").write_text("a hat <lora:hat:1>\n")
    request = request_of(
        prompt="a cat <lora:tagged:1> __look__\nrain <lora:second:1>", negative_prompt="<lora:third:.5>"
    )
    (picture,) = picture_texts(request, styles, Wildcards([tmp_path]), ["tagged.safetensors", "second.safetensors"])
    assert picture.loras == [("tagged.safetensors", 1.0)] and "<lora:second:1>" in picture.prompt
    assert [note.split()[5] for note in picture.notes] == ["hat", "second", "third"]
    assert all("read as text" in note and "first line" in note for note in picture.notes)


def test_a_style_that_went_away_while_the_task_waited_is_noted(texts):
    (picture,) = texts(prompt="a cat", style_selections=("Oil", "Gone"))
    assert picture.positive == ["a cat in oil"] and picture.notes == (
        "There is no style Gone any more; it is left out",
    )


def test_few_notes_are_made_of_many_names(texts):
    names = [f"name{number}" for number in range(300)]
    (picture,) = texts(prompt=" ".join(f"__{name}__" for name in names), negative_prompt="<lora:x:1>," * 300)
    assert len(picture.notes) == 8 + 1


def test_a_style_may_be_named_twice(texts):
    (picture,) = texts(prompt="a cat", style_selections=("Fooocus V2", "Oil", "Fooocus V2", "Oil", "Random Style"))
    assert picture.expand and picture.positive[:2] == ["a cat in oil"] * 2
