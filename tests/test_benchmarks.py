"""The benchmarks draw what a default request draws, and parity cases ask for what they are about."""

import json
import re
import socket
from pathlib import Path

import pytest

from benchmarks import card_table, cards, checkout
from benchmarks.parity import CASES, request
from benchmarks.parity_pictures import PICTURES
from benchmarks.simulated_card import STEPS, Card
from benchmarks.small_cards import growth
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


def told_of_a_card(seconds, **more):
    found = {"s": seconds, "plan": {"plan": "alone"}, "same": "bytes", "steps_down": 0, "pictures": 1}
    return found | {"files_gib": 6.5, "host_peak_gib": 8.0, "gpu_gib": 1.0, "host_gib": 7.0} | more


def test_a_small_cards_requests_stand_beside_the_unlimited_ones():
    figures = {
        "no limit": {"cold": told_of_a_card(5.0, same="not compared"), "warm": told_of_a_card(1.0)},
        "8 GiB": {"cold": told_of_a_card(7.5, host_peak_gib=9.4), "warm": {"failed": "RuntimeError: full"}},
        "6 GiB": {"cold": told_of_a_card(9.0, plan={"plan": "streamed", "streamed_blocks": 9, "blocks": 60})},
    }
    rows = list(card_table.lines(figures))
    assert rows[4] == "| 8 GiB | cold | alone | 7.50 s | 1.50 | same bytes | 0 |  | 9.40 GiB, **more than 9.29** |"
    assert rows[5] == "| 8 GiB | warm | **RuntimeError: full** |"
    assert rows[6] == "| 6 GiB | cold | streamed, 9 of 60 blocks | 9.00 s | 1.80 | same bytes | 0 |  | 8.00 GiB |"


def test_the_public_programs_times_stand_beside_ours(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "models\nalone, 8 GiB       cold_s 15.3  s 6.0  worst_s 6.1\nalone, all of the card  cold_s 12  s 5\n"
    )
    theirs = card_table.read_theirs(log)
    assert theirs == {"8.0": {"cold_s": 15.3, "s": 6.0, "worst_s": 6.1}, "None": {"cold_s": 12.0, "s": 5.0}}
    row = {"cold": told_of_a_card(7.5), "warm": told_of_a_card(1.2), "another prompt": told_of_a_card(1.5)}
    assert list(card_table.beside({"8 GiB": row}, theirs))[2:] == [
        "| 8 GiB | 7.50 s | 1.20 s | 1.50 s | 15.30 s | 6.00 s | 0.25 |"
    ]


def test_memory_of_a_mixture_grows_from_one_request_to_the_next_of_its_kind():
    held = [(3.0, 9.0), (1.0, 7.0), (3.2, 9.0), (1.0, 7.5), (3.2, 9.1), (1.0, 7.5)]
    figures = {
        f"{number}, {'warm' if number % 2 else 'cold'}": told_of_a_card(1.0, gpu_gib=gpu, host_gib=host)
        for number, (gpu, host) in enumerate(held)
    }
    figures["6, cold"] = {"failed": "RuntimeError: full"}
    assert growth(figures) == {
        "drawn": 6,
        "failed": 1,
        "stepped down": 0,
        "gpu_gib grew by": pytest.approx(0.0),
        "host_gib grew by": pytest.approx(0.1),
    }


def test_each_lanes_tasks_tell_where_their_time_went():
    words = "status=finished pictures=1/1 attempt=1 queue=0.1 load=0.1 text=0.1 sampling=0.5 decode=0.1 save=0.1"
    lines = [f"INFO x [-]: The lane {lane} draws {task}" for lane, task in (("0", "a"), ("1", "b"), ("0", "c"))]
    lines += [f"INFO x [-]: task={task} {words} total={total}" for task, total in (("a", 1.0), ("b", 2.5), ("c", 1.2))]
    mills = {"a": (0, 1000), "b": (0, 2500), "c": (1250, 2450)}
    records = [{"task_id": task, "start_mills": begun, "finish_mills": over} for task, (begun, over) in mills.items()]
    found = cards.by_lane(lines, records)
    assert {lane: (row["tasks"], row["sampling"], row["slowest"]) for lane, row in found.items()} == {
        "0": (2, 0.5, 1.2),
        "1": (1, 0.5, 2.5),
    }
    assert (found["0"]["rest"], found["0"]["pause"], found["1"]["rest"]) == (0.2, 0.25, 1.6)
    assert list(cards.by_lane(lines[3:], records)) == ["0"]
