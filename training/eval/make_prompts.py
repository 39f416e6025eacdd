# ruff: noqa: E501 - tables and word lists
"""Write the prompts the model is judged by: 60 objects and colours whose pairs training never shows, 80 places."""

import json
from pathlib import Path

BODIES = """blue apple|pink car|purple car|green rose|blue tulip|orange butterfly|pink balloon|green balloon|purple umbrella|yellow backpack
blue teapot|green fish|red fish|purple house|purple sofa|orange t-shirt|pink bus|blue taxi|purple dragon|orange rocket
red bird|yellow butterfly|blue mushroom|green pig|purple frog|red truck|green cap|orange dress|blue strawberry|pink guitar"""
GROUNDS = """cat:purple|dog:yellow|lion:blue|penguin:orange|owl:green|elephant:pink|pizza:blue|hamburger:purple|croissant:red|birthday cake:green
sailboat:yellow|airplane:pink|train:orange|bicycle:red|castle:purple|sunflower:red|cactus:pink|pineapple:purple|banana:black|watermelon:orange
robot:yellow|ghost:green|crown:blue|trophy:purple|camera:pink|light bulb:green|panda:red|turtle:white|octopus:gray|snowman:black"""
PLACES = """meadow:dog on the grass|meadow:unicorn in a meadow|mountains:castle in the mountains|mountains:bear in the mountains|beach:crab on the beach|beach:umbrella on a sandy beach
sea:sailboat on the sea|sea:whale in the ocean|lake:duck by a lake|lake:tent on the shore of a lake|snow:penguin in the snow|snow:snowman in a snowy winter landscape
desert:camel in the desert|desert:truck on sand dunes|sunset:sailboat at sunset|sunset:horse at sunset|sunrise:rooster at sunrise|sunrise:deer in the morning light
night:owl at night|night:wolf in the moonlight|forest:fox in a forest|forest:dragon in the woods|autumn:mushroom in an autumn forest|autumn:fox among autumn leaves
jungle:tiger in a jungle|jungle:parrot in a tropical jungle|city:robot in the city|city:bus in front of a city skyline|citynight:taxi in a city at night|citynight:cat in a neon city
street:red car on a city street|street:bicycle on a street with houses|road:truck on a country road|road:motorcycle on a road|space:astronaut in space|space:rocket in outer space
sky:airplane in a blue sky with clouds|sky:balloon among the clouds|underwater:fish underwater|underwater:octopus under the sea|volcanic:robot on mars|volcanic:astronaut on a red planet
garden:butterfly in a garden|garden:rabbit among flowers|rain:umbrella in the rain|rain:taxi on a rainy day|wheat:tractor in a wheat field|wheat:horse on a farm
cave:dragon in a cave|cave:bat in a dark cave|wood:red apple on a wooden table|wood:cup of coffee on a wooden table|marble:cupcake on a marble table|marble:lemon on a marble counter
cloth:pizza on a checkered tablecloth|cloth:hamburger on a picnic blanket|brick:bicycle in front of a brick wall|brick:guitar against a brick wall|living:cat in a living room|living:dog in a living room
kitchen:teapot in a kitchen|kitchen:bread on a kitchen counter|bedroom:teddy bear in a bedroom|bedroom:cat in a cozy bedroom|library:owl in a library|library:wizard in front of bookshelves
stage:guitar on a stage|stage:violin on stage in a spotlight|bathroom:duck in a bathroom|bathroom:frog on a tiled floor|dungeon:skull in a dungeon|dungeon:shield in front of a stone wall
rug:cat on a carpet|rug:gift on a rug|window:potted plant on a windowsill|window:candle by a window|classroom:globe in a classroom|classroom:backpack in front of a blackboard
shelf:camera on a shelf|shelf:teddy bear on a shelf"""
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


def placed(entry: str) -> dict:
    """A prompt of a thing in a place."""
    place, words = entry.split(":", 1)
    return {"text": article(words), "place": place}


if __name__ == "__main__":
    Path(__file__).with_name("prompts.json").write_text(json.dumps(prompts(), indent=1) + "\n")
    there = [placed(entry) for entry in PLACES.replace("\n", "|").split("|")]
    Path(__file__).with_name("places.json").write_text(json.dumps(there, indent=1) + "\n")
