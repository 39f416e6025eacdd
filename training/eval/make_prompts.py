# ruff: noqa: E501 - tables and word lists
"""Write prompts.json: the 60 prompts the model is judged by, whose object-colour pairs training never shows."""

import json
from pathlib import Path

BODIES = """blue apple|pink car|purple car|green rose|blue tulip|orange butterfly|pink balloon|green balloon|purple umbrella|yellow backpack
blue teapot|green fish|red fish|purple house|purple sofa|orange t-shirt|pink bus|blue taxi|purple dragon|orange rocket
red bird|yellow butterfly|blue mushroom|green pig|purple frog|red truck|green cap|orange dress|blue strawberry|pink guitar"""
GROUNDS = """cat:purple|dog:yellow|lion:blue|penguin:orange|owl:green|elephant:pink|pizza:blue|hamburger:purple|croissant:red|birthday cake:green
sailboat:yellow|airplane:pink|train:orange|bicycle:red|castle:purple|sunflower:red|cactus:pink|pineapple:purple|banana:black|watermelon:orange
robot:yellow|ghost:green|crown:blue|trophy:purple|camera:pink|light bulb:green|panda:red|turtle:white|octopus:gray|snowman:black"""
STYLES = ["", "", "3d render of ", "", "flat vector illustration of ", "", "cartoon of ", "", "photo of ", ""]


def article(words: str) -> str:
    """The words with a or an."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def prompts() -> list[dict]:
    """Both forms, with a style in front of some."""
    found = []
    for n, pair in enumerate(BODIES.replace("\n", "|").split("|")):
        colour, thing = pair.split(" ", 1)
        found.append({"text": STYLES[n % 10] + article(pair), "object": thing, "colour": colour, "where": "object"})
    for n, pair in enumerate(GROUNDS.replace("\n", "|").split("|")):
        thing, colour = pair.split(":")
        text = f"{STYLES[(n + 2) % 10]}{article(thing)} on {article(colour)} background"
        found.append({"text": text, "object": thing, "colour": colour, "where": "background"})
    return found


if __name__ == "__main__":
    Path(__file__).with_name("prompts.json").write_text(json.dumps(prompts(), indent=1) + "\n")
