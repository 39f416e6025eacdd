"""From a picture to the request that draws it: one unfit thing drops itself alone, and everything dropped is named."""

from pathlib import Path

from engine.prompt.styles import Styles
from fooocus_flask.submission.from_metadata import fitting, from_picture
from tests.engine.images.test_metadata_of_others import Folder, png

DATA = Path(__file__).parent.parent / "engine" / "images" / "data"
STYLES = Styles().names()


def answer(name):
    return from_picture((DATA / name).read_bytes(), Folder(), STYLES)


def test_one_unknown_style_drops_itself_alone_by_name():
    found = answer("one_unknown_style.png")
    assert found["parameters"]["style_selections"] == ["Fooocus V2", "SAI Anime"]
    assert len(found["notes"]) == 1 and "My Own Style" in found["notes"][0]


def test_one_unfit_lora_drops_itself_alone_by_name():
    loras = [{"enabled": True, "model_name": name, "weight": weight} for name, weight in (("a", 99), ("b", 0.5))]
    notes = []
    fit = fitting({"prompt": "x", "loras": loras}, notes, STYLES)
    assert fit == {"prompt": "x", "loras": loras[1:]}
    assert len(notes) == 1 and notes[0].startswith("loras: a is left out")


def test_the_scheme_names_the_program_that_wrote():
    schemes = {name: answer(name)["metadata_scheme"] for name in ("comfy_graph.png", "swarm.png", "turbo4.png")}
    assert schemes == {"comfy_graph.png": "comfyui", "swarm.png": "swarmui", "turbo4.png": "a1111"}
    assert answer("other_fork_json.png")["metadata_scheme"] == "ruinedfooocus"
    assert answer("comment_chunk.png")["metadata_scheme"] == "fooocus"


def test_an_unknown_programs_members_are_named_and_no_scheme_is_claimed():
    found = from_picture(png(parameters={"colour": "red", "speed": 3}), Folder(), STYLES)
    assert (found["metadata_scheme"], found["parameters"]) == (None, {})
    assert found["raw"] == {"colour": "red", "speed": 3}
    assert len(found["notes"]) == 1 and "colour, speed" in found["notes"][0]
