"""The built-in set's tags, said as a sentence and as a list."""

from dataclasses import dataclass

import pytest

from engine.vision.tag_words import plural, sentence, tag_list

COLOURED = {"apple", "car", "orange", "bus"}
SURE = {"count": "one thing", "place": "plain background", "ground": "blue", "effect": "no effect"}


@dataclass(frozen=True)
class Tagged:
    tag: str
    share: float = 0.9


def tags(unsure=(), **groups):
    """These tags; the `unsure` groups with too little."""
    return {group: Tagged(tag, 0.2 if group in unsure else 0.9) for group, tag in (SURE | groups).items()}


@pytest.mark.parametrize(
    ("groups", "said", "listed"),
    [
        (
            {"object": "apple", "colour": "red", "look": "3d render"},
            "a 3d render of a red apple on a blue background",
            "apple, red, blue background, 3d render",
        ),
        ({"object": "owl", "colour": "red"}, "an owl on a blue background", "owl, blue background"),
        ({"object": "orange", "colour": "orange"}, "an orange on a blue background", "orange, blue background"),
        (
            {"object": "apple", "count": "two things", "colour": "green", "place": "on the grass"},
            "two green apples on the grass",
            "apple, two things, green, on the grass",
        ),
        ({"object": "bus", "colour": "red"}, "a red bus on a blue background", "bus, red, blue background"),
        ({"object": "glasses"}, "glasses on a blue background", "glasses, blue background"),
        (
            {"object": "owl", "place": "gradient background", "ground": "orange"},
            "an owl on an orange gradient background",
            "owl, orange gradient background",
        ),
        (
            {"object": "cat", "count": "nothing", "place": "on the beach", "effect": "pixel art"},
            "a landscape on the beach, pixel art",
            "on the beach, pixel art",
        ),
    ],
)
def test_tags_are_said(groups, said, listed):
    found = tags(**groups)
    assert (sentence(found, COLOURED), tag_list(found, COLOURED)) == (said, listed)


def test_what_is_not_sure_is_not_said():
    found = tags(unsure=("object", "ground", "look"), object="apple", colour="red", look="cartoon")
    assert sentence(found, COLOURED) == "something"
    assert tag_list(found, COLOURED) == ""
    found = tags(unsure=("object", "place"), object="apple", count="two things")
    assert sentence(found, COLOURED) == "two things"
    assert tag_list(found, COLOURED) == "two things"


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("cat", "cats"),
        ("bus", "buses"),
        ("cherry", "cherries"),
        ("boy", "boys"),
        ("torch", "torches"),
        ("cup of coffee", "cups of coffee"),
        ("woman with red hair", "women with red hair"),
        ("glasses", "glasses"),
    ],
)
def test_things_are_many(one, many):
    assert plural(one) == many
