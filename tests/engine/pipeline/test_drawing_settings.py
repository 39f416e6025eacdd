"""What a server is told about number formats and attention acts as told, and stands in the record."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.parity import psnr
from engine.adapters.lora_merge import Patch
from engine.files.catalogue import Folders
from engine.gpu.capabilities import BF16, FP16, FP32, Card, DrawingSettings, Precision
from engine.gpu.upcast import stored
from engine.memory_plan import GIB
from engine.pipeline.pipeline import Pipeline
from tests.engine.picture_models import picture_models
from tests.engine.pipeline.test_memory import OutOfMemoryAt, lora, unet_of
from tests.engine.pipeline.test_pipeline import drawn, pixels

pytestmark = pytest.mark.usefixtures("settled")

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
ADA, AMD = Card("cuda", (8, 9), "RTX 4090", bf16=True), Card("cuda", (9, 4), "MI300X", bf16=True, hip=True)
RTX, OLD, CPU = Card("cuda", (8, 6), "RTX 3060", bf16=True), Card("cuda", (6, 1), "GTX 1080"), Card("cpu")


@pytest.mark.parametrize(
    ("card", "settings", "precision"),
    [
        (RTX, {"unet_storage": "fp8_e4m3fn"}, Precision(E4M3, FP16, BF16)),
        (OLD, {"unet_storage": "fp8_e5m2"}, Precision(E5M2, FP32, FP32)),
        (RTX, {"unet_storage": "bf16", "vae_format": "fp16"}, Precision(BF16, BF16, FP16)),
        (OLD, {"unet_storage": "bf16"}, Precision(BF16, FP32, FP32)),
        (CPU, {"unet_storage": "fp16"}, Precision(FP16, FP32, FP32)),
        (RTX, {"unet_storage": "fp32", "text_storage": "fp32"}, Precision(FP32, FP32, BF16, FP32)),
        (RTX, {"vae_format": "cpu"}, Precision(FP16, FP16, FP32, vae_on_processor=True)),
        (RTX, {"attention": "split"}, Precision(FP16, FP16, BF16)),
        (RTX, {"unet_arithmetic": "fp8"}, Precision(FP16, FP16, BF16)),
        (ADA, {"unet_arithmetic": "fp8"}, Precision(FP16, FP16, BF16, eight_bit_products=True)),
        (ADA, {"unet_arithmetic": "fp8", "attention": "split"}, Precision(FP16, FP16, BF16)),
        (ADA, {"unet_arithmetic": "fp8", "unet_storage": "fp8_e4m3fn"}, Precision(E4M3, FP16, BF16)),
        (AMD, {"unet_arithmetic": "fp8"}, Precision(FP16, FP16, BF16)),
    ],
    ids=str,
)
def test_a_card_computes_in_no_format_that_it_lacks(card, settings, precision):
    assert DrawingSettings(**settings).precision(card) == precision


@pytest.mark.slow
def test_products_in_eight_bits_stand_in_the_record_where_they_are_in_force_and_in_a_note_elsewhere(toy, tmp_path):
    settings = DrawingSettings(unet_arithmetic="fp8")
    told = Pipeline("cpu", builtin=toy, settings=settings)
    _, ended = drawn(told, tmp_path)
    assert "settings" not in ended.drawn_with and [note for note in ended.notes if "8.9" in note] == ended.notes != []
    assert settings.told(settings.precision(ADA)) == {"UNET_ARITHMETIC": "fp8"}
    assert settings.unmet(settings.precision(ADA)) == []


@pytest.fixture(scope="module")
def plain(pipeline, tmp_path_factory):
    """The usual picture without settings, and its end."""
    return drawn(pipeline, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({"unet_storage": "fp8_e4m3fn"}, 20),
        ({"unet_storage": "fp8_e5m2"}, 15),
        ({"unet_storage": "fp16"}, 40),
        ({"unet_storage": "bf16"}, 30),
        ({"unet_storage": "fp32", "vae_format": "fp32", "text_storage": "fp32"}, 99),
        ({"vae_format": "fp16"}, 40),
        ({"vae_format": "bf16"}, 30),
        ({"vae_format": "cpu"}, 99),
        ({"text_storage": "fp16"}, 99),
        ({"attention": "split"}, 40),
        ({"attention": "pytorch"}, 99),
    ],
    ids=str,
)
def test_a_setting_acts_as_told_and_the_record_says_so(pipeline, plain, toy, tmp_path, settings, least):
    told = Pipeline("cpu", builtin=toy, settings=DrawingSettings(**settings))
    (before,), unset = plain
    (after,), ended = drawn(told, tmp_path)
    assert "settings" not in unset.drawn_with and ended.notes == []
    assert ended.drawn_with["settings"] == {name.upper(): word for name, word in settings.items()}
    assert psnr(before, after) > least
    if settings.get("unet_storage", "").startswith("fp8"):
        assert not np.array_equal(before, after)
        weights = list(unet_of(told).parameters())
        assert {weight.dtype for weight in weights if weight.dim() > 1} == {told.store.precision.unet}
        assert sum(weight.nbytes for weight in weights) < 0.3 * sum(w.nbytes for w in unet_of(pipeline).parameters())


@pytest.mark.slow
def test_fp8_takes_loras_and_gives_them_back_and_is_streamed(toy, tmp_path):
    settings = DrawingSettings(unet_storage="fp8_e4m3fn")
    resident, planned = (
        Pipeline("cpu", Folders({"loras": [tmp_path]}), builtin=toy, least=least, settings=settings)
        for least in ("resident", "streamed")
    )
    lora(tmp_path, unet_of(resident))
    merged = {"loras": [{"enabled": True, "model_name": "style.safetensors", "weight": 3.0}]}
    for task, changes in (("plain", {}), ("merged", merged), ("again", {})):
        drawn(resident, tmp_path, task_id=f"resident-{task}", **changes)
        drawn(planned, tmp_path, task_id=f"planned-{task}", **changes)
        expected, found = (tmp_path / f"{whose}-{task}-0.png" for whose in ("resident", "planned"))
        assert expected.read_bytes() == found.read_bytes()
    plain, changed, again = (pixels(tmp_path / f"planned-{task}-0.png") for task in ("plain", "merged", "again"))
    assert np.array_equal(plain, again) and not np.array_equal(plain, changed)


def test_what_an_8_bit_format_cannot_hold_becomes_its_largest_number():
    for dtype in (E4M3, E5M2):
        most = torch.finfo(dtype).max
        assert stored(torch.tensor([[1e6, -1e6, 1.0]]), dtype).float().tolist() == [[most, -most, 1.0]]
    assert stored(torch.ones(3), E4M3).dtype == FP16


def test_text_encoders_in_fp32_round_no_lora(toy, tmp_path):
    told = Pipeline("cpu", builtin=toy, settings=DrawingSettings(text_storage="fp32"))
    base = told.store._base(told.catalogue.builtin)
    encoder = base.checkpoint.text_encoders.clip_l.module
    name, weight = next((n, w) for n, w in encoder.named_parameters() if n.endswith("layers.0.self_attn.q_proj.weight"))
    assert weight.dtype == FP32
    stem = "lora_te1_text_model_encoder_layers_0_self_attn_q_proj"
    up, down = torch.rand(len(weight), 2), torch.rand(2, weight.shape[1])
    save_file({f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down}, tmp_path / "texts.safetensors")
    assert base.patches.apply([Patch(tmp_path / "texts.safetensors", 0.1)]) == []
    assert not torch.equal(weight, weight.half().float()), name
    base.patches.apply([])


@pytest.mark.slow
def test_a_vae_on_the_processor_takes_no_turn_on_the_card(toy, tmp_path):
    told = Pipeline("cpu", builtin=toy, least="alone", settings=DrawingSettings(vae_format="cpu"))
    _, ended = drawn(told, tmp_path)
    vae = told.store._base(told.catalogue.builtin).checkpoint.own_vae
    assert ended.drawn_with["memory"] == {"plan": "alone"} and ended.drawn_with["settings"] == {"VAE_FORMAT": "cpu"}
    assert not told.renderer.residency.has(vae.module) and told.memory._parts.vae == 0


@pytest.mark.slow
def test_everything_stays_where_that_is_asked_for_and_steps_down_only_when_it_must(toy, tmp_path):
    for keep, plan in ((False, "alone"), (True, "resident")):
        crowded = Pipeline("cpu", builtin=toy, keep=keep)
        crowded.renderer.residency.available = lambda: GIB // 2
        _, ended = drawn(crowded, tmp_path)
        assert (ended.drawn_with["memory"]["plan"] == "resident") == keep, plan
    OutOfMemoryAt(unet_of(crowded).mid_block, times=1)
    _, ended = drawn(crowded, tmp_path)
    assert ended.drawn_with["memory"]["plan"] != "resident" and ended.notes


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return picture_models(tmp_path_factory.mktemp("models"))


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["fp8_e4m3fn", "fp16"])
def test_control_nets_image_prompts_and_inpainting_go_with_every_storage(models, redraw_at, tmp_path, storage):
    redraw_at(256)
    folder = tmp_path / "inputs"
    folder.mkdir()
    y, x = np.mgrid[:96, :128]
    Image.fromarray(np.stack([x, y, 2 * (x ^ y) % 256], axis=2).astype(np.uint8)).save(folder / "scene.png")
    mask = np.zeros((96, 128, 3), np.uint8)
    mask[30:60, 40:90] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    images = [
        {"cn_img": "/inputs/scene.png", "cn_type": kind, "cn_weight": 1.0, "cn_stop": 1.0}
        for kind in ("PyraCanny", "ImagePrompt")
    ]
    inpaint = {"inpaint_input_image": "/inputs/scene.png", "inpaint_mask_image_upload": "/inputs/mask.png"}
    path = models / "checkpoints" / "base.safetensors"
    told = Pipeline("cpu", Folders.below(models), settings=DrawingSettings(unet_storage=storage))
    wish = {"checkpoint": path, "inputs": str(folder), "overwrite_step": 2}
    for task, changes in (("control", {"controlnet_image": images}), ("inpaint", inpaint)):
        (picture,), ended = drawn(told, tmp_path, task_id=task, **wish, **changes)
        assert ended.outcome == "finished" and picture.std() > 0
