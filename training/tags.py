"""The tags of planned pictures: one of each group, or none where the plan cannot tell."""

import colorsys

import numpy as np

from training import plans, scenes
from training.backdrops import places
from training.colours import BODY, MAIN, plain_word

COUNTS = ["nothing", "one thing", "two things", "three things"]
LOOKS = {"3d": "3d render", "noto": "cartoon", "flat": "flat illustration", "portrait": "line drawing"}
PLAIN = {
    scenes.FLAT: "plain background",
    scenes.GRADIENT: "gradient background",
    scenes.STUDIO: "studio background",
    scenes.BOKEH: "bokeh background",
}
PLACES = {name: place.phrases.split("|")[0] for name, place in places.PLACES.items()}
EFFECTS = ["no effect"] + [plans.EFFECT_WORDS[n].split("|")[0] for n in sorted(plans.EFFECT_WORDS)]
GROUND = [*MAIN, "brown"]
UNKNOWN = -100
_PLACE_OF = {
    phrase: name
    for name, place in places.PLACES.items()
    for phrase in (*place.phrases.split("|"), *place.alone.split("|"))
}


def groups(facts: list[dict]) -> dict[str, list[str]]:
    """The tags of each group, in the order of the head's outputs."""
    return {
        "object": sorted({fact["names"][0] for fact in facts}),
        "count": COUNTS,
        "colour": list(BODY),
        "place": [*PLAIN.values(), *PLACES.values()],
        "ground": GROUND,
        "look": list(LOOKS.values()),
        "effect": EFFECTS,
    }


def coloured(facts: list[dict]) -> list[str]:
    """The objects whose colour is ever told: at least one of their sprites has one, or is painted."""
    people = ("person", "portrait", "face", "heart")
    found = {f["names"][0] for f in facts if f["share"] >= 0.33 and not f["group"].startswith(people)}
    return sorted(name for name in found if "with" not in name)


def numbers(facts: list[dict], tags: dict[str, list[str]], item: plans.Item, story: dict) -> np.ndarray:
    """The number of a picture's tag in each group; UNKNOWN where it has none of the group's, or it cannot be told."""
    what, scene = story["what"], item.kind == scenes.PLACE
    words = {
        "object": facts[what[0]]["names"][0] if len(set(what)) == 1 else None,
        "count": COUNTS[len(what)],
        "colour": body_colour(facts, item, story),
        "place": PLACES[_PLACE_OF[story["where"]]] if scene else PLAIN[item.kind],
        "ground": None if scene or item.effect else str(plain_word(np.asarray(item.colours[0]))),
        "look": LOOKS[plans.look(facts[what[0]])] if what and not item.effect else None,
        "effect": EFFECTS[item.effect],
    }
    known = ((tags[group], word) for group, word in words.items())
    return np.array([names.index(word) if word in names else UNKNOWN for names, word in known], np.int16)


def body_colour(facts: list[dict], item: plans.Item, story: dict) -> str | None:
    """The colour word of the one thing shown, if most of it has one."""
    if item.effect or len(story["what"]) != 1:
        return None
    if story["colour"]:
        return story["colour"]
    fact = facts[story["what"][0]]
    if fact["hue"] < 0 or fact["share"] < 0.5 or plans.look(fact) == "portrait":
        return None
    return str(plain_word(np.array(colorsys.hsv_to_rgb(fact["hue"] / 360, fact["sat"], fact["val"]))))
