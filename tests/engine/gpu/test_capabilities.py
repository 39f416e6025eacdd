"""The table of number formats, row by row, without the cards."""

import numpy as np
import pytest
import torch

from benchmarks.parity import psnr
from engine.errors import NoSuchDevice
from engine.gpu.capabilities import (
    BF16,
    FP16,
    FP32,
    TABLE,
    Card,
    Features,
    Precision,
    chosen_device,
    features_of,
    no_such_device,
    precision_of,
)
from engine.gpu.device_memory import free_bytes, give_back, total_memory
from engine.pipeline.pipeline import Pipeline
from tests.engine.pipeline.test_pipeline import drawn, pixels

CARDS = {
    Card("cuda", (5, 2), "NVIDIA GeForce GTX 970"): Precision(FP16, FP32, FP32),
    Card("cuda", (6, 0), "Tesla P100-PCIE-16GB"): Precision(FP16, FP32, FP32),
    Card("cuda", (6, 1), "NVIDIA GeForce GTX 1070"): Precision(FP16, FP32, FP32),
    Card("cuda", (6, 1), "NVIDIA GeForce GTX 1080"): Precision(FP16, FP32, FP32),
    Card("cuda", (7, 0), "Tesla V100-SXM2-16GB"): Precision(FP16, FP16, FP32),
    Card("cuda", (7, 5), "NVIDIA GeForce GTX 1660 SUPER"): Precision(FP16, FP32, FP32),
    Card("cuda", (7, 5), "NVIDIA GeForce GTX 1650"): Precision(FP16, FP32, FP32),
    Card("cuda", (7, 5), "Quadro T1000"): Precision(FP16, FP32, FP32),
    Card("cuda", (7, 5), "NVIDIA GeForce RTX 2060"): Precision(FP16, FP16, FP32),
    Card("cuda", (7, 5), "Tesla T4"): Precision(FP16, FP16, FP32),
    Card("cuda", (8, 6), "NVIDIA GeForce RTX 3060", bf16=True): Precision(FP16, FP16, BF16),
    Card("cuda", (8, 6), "NVIDIA RTX A1000", bf16=True): Precision(FP16, FP16, BF16),
    Card("cuda", (9, 0), "NVIDIA H100 80GB HBM3", bf16=True): Precision(FP16, FP16, BF16),
    Card("cuda", (12, 0), "NVIDIA GeForce RTX 5090", bf16=True): Precision(FP16, FP16, BF16),
    Card("cuda", (11, 0), "AMD Radeon RX 7900 XTX", bf16=True, hip=True): Precision(FP16, FP16, BF16),
    Card("cuda", (10, 3), "AMD Radeon RX 6800", hip=True): Precision(FP16, FP16, FP32),
    Card("xpu", name="Intel(R) Arc(TM) A770 Graphics", bf16=True): Precision(FP16, FP16, BF16),
    Card("xpu", name="Intel(R) UHD Graphics"): Precision(FP16, FP16, FP32),
    Card("mps"): Precision(FP16, FP16, FP32),
    Card("cpu"): Precision(FP32, FP32, FP32),
    Card("npu"): Precision(FP32, FP32, FP32),
}


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name or card.type)
def test_number_formats_are_those_that_a_card_can_compute_in(card):
    assert precision_of(card) == CARDS[card]


def test_every_row_of_the_table_has_a_card_here():
    decisive = {next(row.words for row in TABLE if row.holds(card)) for card in CARDS}
    assert decisive == {row.words for row in TABLE}


@pytest.mark.parametrize(
    "card", {CARDS[card]: card for card in CARDS}.values(), ids=lambda card: card.name or card.type
)
def test_a_picture_of_every_row_is_the_fp32_one_up_to_rounding(pipeline, toy, tmp_path, card):
    row, precision = Pipeline("cpu", builtin=toy, card=card), precision_of(card)
    drawn(pipeline, tmp_path, task_id="plain")
    _, ended = drawn(row, tmp_path, task_id="row")
    assert ended.outcome == "finished" and ended.notes == []
    checkpoint = row.store._base(row.catalogue.builtin).checkpoint
    assert {weight.dtype for weight in checkpoint.unet.parameters()} == {precision.unet}
    assert {weight.dtype for weight in checkpoint.vae.module.parameters()} == {precision.vae}
    plain, found = (pixels(tmp_path / f"{name}-0.png") for name in ("plain", "row"))
    if precision == Precision.for_device(torch.device("cpu")):
        assert np.array_equal(plain, found)
    assert psnr(plain, found) > 35


@pytest.mark.parametrize(
    ("card", "graphs", "kernels", "streams", "pinning"),
    [
        (Card("cuda", (9, 0), "NVIDIA H100", bf16=True), True, True, True, True),
        (Card("cuda", (7, 5), "Tesla T4"), True, True, True, True),
        (Card("cuda", (6, 1), "NVIDIA GeForce GTX 1080"), True, False, True, True),
        (Card("cuda", (11, 0), "AMD Radeon RX 7900 XTX", bf16=True, hip=True), False, False, True, False),
        (Card("xpu", name="Intel(R) Arc(TM) A770 Graphics", bf16=True), False, False, False, False),
        (Card("mps"), False, False, False, False),
        (Card("cpu"), False, False, False, False),
    ],
    ids=lambda value: getattr(value, "type", None),
)
def test_what_only_cuda_has_is_asked_of_no_other(card, graphs, kernels, streams, pinning):
    assert features_of(card) == Features(graphs, kernels, streams, pinning)


def test_the_device_is_the_accelerator_that_torch_finds_or_the_processor():
    there = torch.accelerator.current_accelerator(check_available=True)
    assert chosen_device() == chosen_device("") == (there or torch.device("cpu"))
    assert chosen_device("cpu") == torch.device("cpu")
    other = next(kind for kind in ("xpu", "cuda") if there is None or there.type != kind)
    with pytest.raises(NoSuchDevice, match=f"DEVICE is {other}:1, and torch finds .* here: give "):
        chosen_device(f"{other}:1")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            ("", 0),
            "finds no card of any kind here: give cpu or nothing, or install the driver and the torch of your card",
        ),
        (("cuda", 1), "finds only cuda and cpu here: give one of them, or nothing for cuda"),
        (("cuda", 2), "finds only cuda:0, cuda:1 and cpu here: give one of them, or nothing for cuda"),
    ],
)
def test_who_asks_for_a_device_that_is_not_there_is_told_which_there_are(found, words):
    assert no_such_device("cuda:3", *found) == f"DEVICE is cuda:3, and torch {words}"


def test_a_processors_memory_has_no_end_and_nothing_to_give_back():
    processor = torch.device("cpu")
    assert free_bytes(processor) is None and total_memory(processor) is None
    give_back(processor)
