# ruff: noqa: E501 - word lists
"""The smaller world of the second run: about 200 common things, each with one look per source and names of its own."""

import json
from pathlib import Path

# "label of the sprite: names" where the names differ from the label; one word never means two of these looks.
LABELS = """dog face: dog, puppy|cat face: cat, kitten|lion|tiger face: tiger|horse: horse, pony|unicorn|zebra|deer|cow|pig face: pig, piglet|ewe: sheep, lamb
camel|giraffe|elephant|rhinoceros: rhino, rhinoceros|hippopotamus: hippo, hippopotamus|mouse face: mouse|rabbit face: rabbit, bunny|hedgehog|bat|bear|koala|panda
monkey face: monkey|gorilla: gorilla, ape|wolf|fox|frog: frog, toad|crocodile: crocodile, alligator|turtle: turtle, tortoise|snake|dragon|T-Rex: t-rex, dinosaur
whale|dolphin|fish|shark|octopus|crab|snail|butterfly|honeybee: bee, honeybee|lady beetle: ladybug, beetle|spider|rooster: rooster, chicken|baby chick: chick
bird|penguin|eagle: eagle, hawk|duck|swan|owl|flamingo|parrot|rose|sunflower|tulip|cherry blossom|blossom: flower|bouquet: bouquet of flowers|potted plant: potted plant, plant
evergreen tree: pine tree, fir tree|deciduous tree: tree|palm tree|cactus|mushroom: mushroom, toadstool|maple leaf: maple leaf, leaf|grapes|watermelon|tangerine: orange, tangerine|lemon|banana
pineapple|red apple: apple|pear|peach|cherries: cherries, cherry|strawberry|tomato|avocado|eggplant: eggplant, aubergine|carrot|ear of corn: corn|broccoli
bread|croissant|cheese wedge: cheese|hamburger: hamburger, burger|french fries|pizza: pizza, slice of pizza|hot dog|sushi|soft ice cream: ice cream cone, ice cream|doughnut: donut, doughnut
cookie: cookie, biscuit|birthday cake: birthday cake, cake|cupcake: cupcake, muffin|lollipop|hot beverage: cup of coffee, coffee, cup, mug|teapot|wine glass: wine glass, glass of wine|cocktail glass: cocktail
beer mug: beer|steaming bowl: bowl of soup, ramen|automobile: car, automobile|delivery truck: truck, delivery truck|taxi: taxi, cab|ambulance|fire engine: fire truck|bus
tractor|racing car: race car|motorcycle: motorcycle, motorbike|bicycle: bicycle, bike|locomotive: steam train, locomotive|train|airplane: airplane, plane
helicopter|rocket: rocket, spaceship|flying saucer: ufo, flying saucer|sailboat: sailboat, boat|ship|house: house, home|office building: office building, building|castle|church|tent
classical building: greek temple, temple|snow-capped mountain: mountain, snowy mountain|volcano|sun|full moon: moon|ringed planet: planet, saturn
globe showing Americas: earth, globe, planet earth|star|cloud|rainbow|umbrella|snowman|snowflake|fire: fire, flame|balloon|wrapped gift: gift, present, gift box|Christmas tree: christmas tree
jack-o-lantern: halloween pumpkin, pumpkin|teddy bear|soccer ball: soccer ball, ball|basketball|trophy|crystal ball|guitar|violin|trumpet|headphone: headphones|camera|television: television, tv|laptop: laptop, computer
mobile phone: phone, smartphone|light bulb: light bulb, lamp|candle|closed book: book|open book|key|locked: padlock, lock|hammer|shield|scissors|pencil|chair|couch and lamp: sofa, couch
backpack|handbag: handbag, purse|luggage: suitcase|crown|top hat: hat, top hat|billed cap: cap|glasses|sunglasses|t-shirt: t-shirt, shirt|dress|running shoe: shoe, sneaker
gem stone: diamond, gem|watch: wristwatch, watch|alarm clock: clock, alarm clock|bell|red heart: heart, red heart|skull|ghost|alien|robot
man: man, portrait of a man|woman: woman, portrait of a woman, lady|boy|girl|old man: old man, portrait of an old man|man: beard: man with a beard
woman: blond hair: woman with blonde hair, portrait of a woman with blonde hair|man: red hair: man with red hair, portrait of a man with red hair|woman: red hair: woman with red hair, portrait of a woman with red hair
woman: curly hair: woman with curly hair|astronaut|princess: princess, queen|ninja|man mage: wizard, mage|fairy|mermaid|Santa Claus: santa claus
man superhero: superhero|man cook: chef, cook|man police officer: policeman, police officer|man firefighter: firefighter|man health worker: doctor"""
HAIR = ("black", "brown", "blonde", "red", "white", "gray")


def chosen() -> dict[str, list[str]]:
    """Sprite label -> names, the canonical one first."""
    found = {}
    for entry in LABELS.replace("\n", "|").split("|"):
        label, _, names = entry.rpartition(": ")
        found[label or names] = names.split(", ")
    return found


def focused(facts: list[dict]) -> tuple[list[int], list[dict]]:
    """Numbers of the sprites that stay, and their facts renamed and equally weighted, one per label and source."""
    wanted, seen, numbers, kept = chosen(), set(), [], []
    for number, fact in enumerate(facts):
        key = (fact["label"], fact["source"])
        if fact["group"] == "portrait":
            if fact["source"] != "adventurer" or fact["label"].removesuffix(" hair").split()[-1] not in HAIR:
                continue
            new = fact | {"weight": 1.0, "steady": True}
        elif fact["label"] in wanted and key not in seen:
            new = fact | {"names": wanted[fact["label"]], "weight": 1.0, "steady": True}
        else:
            continue
        seen.add(key)
        numbers.append(number)
        kept.append(new)
    return numbers, kept


def missing(facts: list[dict], prompts: Path) -> list[str]:
    """Labels without a sprite, and objects of the evaluation that no sprite is called."""
    found = {f["label"] for f in facts}
    names = {name for f in facts for name in f["names"]}
    objects = {p["object"] for p in json.loads(prompts.read_text())}
    return sorted({label for label in chosen() if label not in found} | (objects - names))
