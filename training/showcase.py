"""Ordinary prompts, chosen before training, that show what a model can do."""

SHOWCASE = [
    "a cat",
    "a red apple on a wooden table",
    "portrait of a woman with red hair",
    "a castle in the mountains at sunset",
    "an astronaut in space",
    "a blue car on a city street",
    "a dog on the grass",
    "a pizza on a yellow background",
    "a dragon in a forest",
    "a sailboat on the sea",
    "a robot",
    "a cup of coffee on a brown background",
    "an owl at night",
    "a unicorn with a pink background",
    "mountain landscape",
    "a penguin in the snow",
    "a rocket in outer space",
    "a sunflower in a meadow",
    "a wizard, cartoon",
    "flat vector illustration of a fox",
]
