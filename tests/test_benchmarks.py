"""The benchmarks draw what a default request draws, and parity cases ask for what they are about."""

import json
import re
import socket
from pathlib import Path

import pytest

from benchmarks import checkout
from benchmarks.parity import CASES, request
from benchmarks.parity_pictures import PICTURES
from benchmarks.simulated_card import STEPS, Card
from engine import messages, required_files
from engine.modes import modes_of
from engine.params import GenerateParams
from engine.process import wire
from engine.process.channel import Channel
from schemas.generate import DEFAULTS

DECIDED_BY_THE_SERVER = {
    "aspect_ratios_selection",
    "loras",
    "save_name",
    "input_image_checkbox",
    "invert_mask_checkbox",
    "inpaint_advanced_masking_checkbox",
    "webhook_url",
}


def test_their_parameters_are_the_schemas_defaults():
    stored = json.loads(Path("benchmarks/default_params.json").read_text())
    params = GenerateParams.from_dict(stored)
    ours = json.loads(json.dumps(GenerateParams.from_dict({**stored, **DEFAULTS}).to_dict()))
    stored = json.loads(json.dumps(params.to_dict()))
    assert {name for name in stored if stored[name] != ours[name]} <= DECIDED_BY_THE_SERVER


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_parity_case_is_a_request_whose_pictures_are_all_used(case):
    params = GenerateParams.from_dict(request(case))
    pictures = [params.uov_input_image, params.inpaint_input_image, params.inpaint_mask_image_upload]
    pictures += [prompt.cn_img for prompt in params.controlnet_image]
    assert {Path(picture).stem for picture in pictures if picture} <= PICTURES.keys()
    assert not modes_of(params).unused


def test_a_parity_case_is_told_apart_from_another_case():
    names = [case["name"] for case in CASES]
    assert len(set(names)) == len(names)
    assert all(case["beside"] in set(names) - {case["name"]} for case in CASES if "beside" in case)


def test_expansion_is_compared_with_eight_prompts_and_seeds():
    of_expansion = [case for case in CASES if re.fullmatch(r"expansion-\d", case["name"])]
    assert len({(case["prompt"], case["seed"]) for case in of_expansion}) == 8
    named = {case["name"]: case for case in CASES}
    for case in of_expansion:
        beside = named[case["beside"]]
        assert (case["prompt"], case["seed"]) == (beside["prompt"], beside["seed"])
        assert request(case)["style_selections"] == ["Fooocus V2"] and request(beside)["style_selections"] == []


def test_a_simulated_card_tells_of_a_task_as_an_engine_does(tmp_path):
    near, far = socket.socketpair()
    picture, place = tmp_path / "preview.png", tmp_path / "day" / "1.png"
    picture.write_bytes(b"a picture")
    with near, near.makefile("rb") as stream:
        card = Card(Channel(far.detach()), picture, picture, step=0.0, around=0.0)
        card.start()
        card.tasks.put(messages.Draw("1", {}, [str(place)]))
        told = [messages.from_wire(*wire.read(stream)) for _ in range(STEPS + 2)]
    *steps, done, ended = told
    assert [step.step for step in steps] == list(range(1, STEPS + 1)) and steps[0].preview == b"a picture"
    assert (done.path, place.read_bytes()) == (str(place), b"a picture")
    assert (ended.task_id, ended.outcome) == ("1", "finished")


def test_the_cases_drawn_with_a_checkout_need_the_files_that_are_made_for_them():
    params = [GenerateParams.from_dict(request(case)) for case in CASES if case["name"] in checkout.CHOSEN]
    needed = {f"{need.kind}/{need.name}" for one in params for need in required_files.needs(one)}
    assert len(params) == 10 and needed <= {*checkout.PLACES, checkout.PREVIEWS}


def test_a_parity_case_cannot_misspell_a_member():
    with pytest.raises(KeyError, match="typo: sharpnes"):
        request({"name": "typo", "sharpnes": 3.0})
