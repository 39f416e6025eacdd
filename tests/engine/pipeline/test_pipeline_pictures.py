"""Requests that bring pictures, drawn whole by the real pipeline with toy files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.files import builtin_set
from engine.files.catalogue import Folders
from engine.messages import PictureDone
from engine.models import eight_bit
from engine.models.checkpoint import load_checkpoint
from engine.pipeline.pipeline import Pipeline
from schemas.generate import DEFAULTS
from tests.engine.adapters.control_nets import control_parts, encoder, low_rank_patch
from tests.engine.adapters.image_adapters import adapter, adapter_files
from tests.engine.detectors.vision_towers import vision_file
from tests.engine.picture_models import picture_models
from tests.toy import narrow_checkpoint, toy_draw

SIZE = (160, 128)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = picture_models(tmp_path_factory.mktemp("models"))
    narrow_checkpoint(folder / "checkpoints" / "narrow.safetensors")
    return folder


@pytest.fixture(scope="module")
def pipeline(models, toy):
    return Pipeline("cpu", Folders.below(models), builtin=toy)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder of input pictures: a scene, another one, a mask of its middle."""
    folder = tmp_path_factory.mktemp("inputs")
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    scene = np.stack([x, y, 255 - x], axis=2).astype(np.uint8)
    scene[40:90, 50:110] = (220, 40, 60)
    Image.fromarray(scene).save(folder / "scene.png")
    Image.fromarray(scene[::-1, ::-1].copy()).save(folder / "other.png")
    red = np.full_like(scene, 60)
    red[40:90, 50:110] = (220, 40, 60)
    Image.fromarray(red).save(folder / "red.png")
    Image.fromarray(np.full_like(red, 60)).save(folder / "blank.png")
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[50:80, 60:100] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(np.zeros_like(mask)).save(folder / "nothing.png")
    return folder


@pytest.fixture
def drawn_large(pipeline, models, inputs, tmp_path):
    """Draws with the toy files: the pictures and the end."""
    count = iter(range(100))

    def draw(checkpoint="base.safetensors", **changes):
        heard = []
        path = checkpoint and models / "checkpoints" / checkpoint
        params = {"overwrite_step": 2, "disable_preview": True} | changes
        command = toy_draw(tmp_path, f"task{next(count)}", path, inputs=str(inputs), **params)
        ended = pipeline.draw(command, heard.append)
        paths = [event.path for event in heard if isinstance(event, PictureDone)]
        assert ended.outcome == "finished" and [event.index for event in heard if isinstance(event, PictureDone)] == [
            *range(len(paths))
        ]
        return [np.asarray(Image.open(path)) for path in paths], ended, paths

    return draw


@pytest.fixture
def drawn(drawn_large, redraw_at):
    """The same, with a sixteenth of the work where a picture in a request is drawn over."""
    redraw_at(256)
    return drawn_large


SCENE, MASK = "/inputs/scene.png", "/inputs/mask.png"
VARY = {"uov_input_image": SCENE, "uov_method": "Vary (Subtle)"}
INPAINT = {"inpaint_input_image": SCENE, "inpaint_mask_image_upload": MASK, "inpaint_engine": "None"}
INPAINT |= {"inpaint_strength": 0.98}  # by which nothing is filled, which takes its time


def scene(inputs):
    return np.asarray(Image.open(inputs / "scene.png"))


def apart(one, other):
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def test_subtle_variation_stays_nearer_than_strong_and_the_strength_counts(drawn):
    (subtle,), _, _ = drawn(**VARY)
    (strong,), _, _ = drawn(**VARY | {"uov_method": "Vary (Strong)"})
    (least,), _, _ = drawn(**VARY | {"overwrite_vary_strength": 0.01})
    (again,), _, _ = drawn(**VARY)
    assert subtle.shape == strong.shape
    assert np.array_equal(subtle, again)
    assert apart(least, subtle) < apart(least, strong)


def test_a_small_picture_is_varied_enlarged_and_inpainted_at_a_million_pixels(drawn_large):
    quick = {"checkpoint": "narrow.safetensors", "overwrite_step": 1}
    (varied,), _, _ = drawn_large(**VARY, **quick)
    (larger,), ended, _ = drawn_large(uov_input_image=SCENE, uov_method="Upscale (2x)", **quick)
    assert varied.shape == (960, 1088, 3)
    assert larger.shape == (896, 1152, 3) and ended.seconds["sampling"] > 0
    pictures, _, _ = drawn_large(**INPAINT, **quick, debugging_inpaint_preprocessor=True)
    assert {picture.shape[0] * picture.shape[1] for picture in pictures} == {1024 * 1024}


def test_pictures_of_a_variation_differ_by_their_seeds(drawn):
    pictures, _, _ = drawn(**VARY, image_number=2)
    assert len(pictures) == 2 and not np.array_equal(*pictures)


def test_a_fast_upscale_is_only_enlarged_and_says_so(drawn_large):
    (made,), ended, (path,) = drawn_large(uov_input_image=SCENE, uov_method="Upscale (Fast 2x)", image_number=3)
    assert made.shape == (896, 1152, 3) and ended.seconds["sampling"] == 0
    assert "Upscale (Fast)" in (Path(path).parent / "log.html").read_text()


def test_an_upscale_draws_over_the_enlarged_picture(drawn):
    (fast,), _, _ = drawn(uov_input_image=SCENE, uov_method="Upscale (Fast 2x)")
    upscale = {"uov_input_image": SCENE, "uov_method": "Upscale (2x)"}
    (drawn_over,), ended, _ = drawn(**upscale)
    (hardly,), _, _ = drawn(**upscale, overwrite_upscale_strength=0.01)
    assert drawn_over.shape == fast.shape and ended.seconds["sampling"] > 0
    assert not np.array_equal(drawn_over, hardly)


def test_an_inpainted_picture_keeps_what_is_not_masked(drawn, inputs):
    (made,), _, _ = drawn(**INPAINT)
    before = scene(inputs)
    outside = np.ones(SIZE[::-1], bool)
    outside[50 - 32 : 80 + 32, 60 - 32 : 100 + 32] = False
    assert np.array_equal(made[outside], before[outside])
    assert apart(made[50:80, 60:100], before[50:80, 60:100]) > 10


def test_nothing_is_drawn_anew_by_a_strength_of_almost_nothing(drawn):
    (full,), _, _ = drawn(**INPAINT | {"inpaint_strength": 1.0})
    (weak,), _, _ = drawn(**INPAINT | {"inpaint_strength": 0.01})
    (empty,), _, _ = drawn(**INPAINT, inpaint_disable_initial_latent=True)
    assert not np.array_equal(full, weak) and not np.array_equal(full, empty)


def test_an_inpaint_engine_patches_the_base_for_its_part_of_the_steps(drawn, pipeline):
    plain, _, _ = drawn()
    made = [drawn(**INPAINT | {"inpaint_engine": engine})[0][0] for engine in ("None", "v1", "v2.6")]
    assert len({picture.tobytes() for picture in made}) == 3
    assert np.array_equal(drawn()[0][0], plain[0])  # and off it comes
    (again,), _, (path,) = drawn(**INPAINT | {"inpaint_engine": "v2.6"})
    assert np.array_equal(again, made[-1])
    assert json.loads(Image.open(path).text["parameters"])["refiner_switch"] == 0.8


def test_only_for_an_inpaint_engine_is_a_picture_encoded_once_more(drawn, pipeline, models):
    base = pipeline.store._base(models / "checkpoints" / "base.safetensors").checkpoint
    encoder, encoded = base.own_vae.module.encoder, []
    with encoder.register_forward_pre_hook(lambda _, given: encoded.append(given)):
        drawn(**INPAINT)
        plain = len(encoded)
        drawn(**INPAINT | {"inpaint_engine": "v2.6"})
    assert (plain, len(encoded) - plain) == (1, 2)


def test_the_additional_prompt_of_an_inpainting_comes_first(drawn):
    _, _, (path,) = drawn(**INPAINT, inpaint_additional_prompt="blue eyes")
    assert json.loads(Image.open(path).text["parameters"])["prompt"] == "blue eyes\na red cat"


def test_an_outpainted_picture_grows_where_it_is_asked_to(drawn, inputs):
    wish = {
        "inpaint_input_image": SCENE,
        "inpaint_engine": "None",
        "inpaint_strength": 0.98,
        "outpaint_selections": ("Left", "Bottom"),
    }
    (made,), _, _ = drawn(**wish, outpaint_distance=(64, 0, 0, 0))
    assert made.shape == (128 + int(0.3 * 128), 160 + 64, 3)
    before = scene(inputs)
    assert np.array_equal(made[: 128 - 32, 64 + 32 :], before[: 128 - 32, 32:])


def test_a_mask_that_paints_nothing_makes_it_a_picture_from_text(drawn):
    plain, _, _ = drawn()
    made, ended, _ = drawn(**INPAINT | {"inpaint_mask_image_upload": "/inputs/nothing.png"})
    assert np.array_equal(plain[0], made[0])
    assert "Nothing is inpainted: the mask paints nothing and no side is outpainted" in ended.notes


def test_what_inpainting_prepares_can_be_looked_at(drawn):
    pictures, ended, _ = drawn(**INPAINT, debugging_inpaint_preprocessor=True)
    assert len(pictures) == 3 and len({picture.shape for picture in pictures}) == 1
    assert set(np.unique(pictures[1])) == {0, 255} and ended.seconds["sampling"] == 0


def guide(kind, weight=1.0, stop=1.0, image=SCENE):
    return {"cn_img": image, "cn_type": kind, "cn_weight": weight, "cn_stop": stop}


@pytest.mark.parametrize("kind", ["PyraCanny", "CPDS", "ImagePrompt", "FaceSwap"])
def test_a_control_image_guides_by_its_content_weight_and_stop(drawn, kind):
    plain, _, _ = drawn(overwrite_step=4)

    def guided(**changes):
        return drawn(controlnet_image=[guide(kind, **changes)], overwrite_step=4)[0][0]

    made = guided()
    assert np.array_equal(made, guided())
    others = [plain[0], guided(weight=0.4), guided(image="/inputs/other.png"), guided(stop=0.4)]
    assert all(not np.array_equal(made, other) for other in others)
    assert np.array_equal(plain[0], guided(stop=0.0))


@pytest.fixture
def shipped(models, toy, tmp_path, monkeypatch):
    """A built-in set of small files that fit the toy model, which is the built-in one here."""
    generator, unet = torch.Generator().manual_seed(6), load_checkpoint(toy, torch.device("cpu")).unet
    files = adapter_files(tmp_path, unet, generator, adapter(unet, generator), ".safetensors")
    monkeypatch.setattr(builtin_set, "IMAGE_PROMPT", files[0])
    monkeypatch.setattr(builtin_set, "IMAGE_PROMPT_NEGATIVE", files[1])
    monkeypatch.setattr(builtin_set, "IMAGE_ENCODER", vision_file(tmp_path / "encoder.safetensors"))


def test_the_built_in_model_reads_image_prompts_with_its_own_files(drawn, shipped):
    def guided(kind="ImagePrompt", **changes):
        return drawn(checkpoint=None, controlnet_image=[guide(kind, **changes)], overwrite_step=4)

    (plain,), _, _ = drawn(checkpoint=None, overwrite_step=4)
    (made,), ended, _ = guided()
    others = [plain, guided(weight=0.4)[0][0], guided(image="/inputs/other.png")[0][0], guided(stop=0.4)[0][0]]
    assert all(not np.array_equal(made, other) for other in others)
    assert np.array_equal(plain, guided(stop=0.0)[0][0])
    assert not any("FaceSwap" in note for note in ended.notes)
    (face,), ended, _ = guided("FaceSwap")
    assert np.array_equal(face, made) and any("FaceSwap" in note and "ImagePrompt" in note for note in ended.notes)


def test_a_checkpoint_is_never_drawn_with_the_built_in_sets_files(drawn, shipped, monkeypatch, tmp_path):
    (made,), _, _ = drawn(controlnet_image=[guide("ImagePrompt")])
    for name in ("IMAGE_PROMPT", "IMAGE_PROMPT_NEGATIVE", "IMAGE_ENCODER"):
        monkeypatch.setattr(builtin_set, name, tmp_path / "none.safetensors")
    assert np.array_equal(made, drawn(controlnet_image=[guide("ImagePrompt")])[0][0])


def test_several_control_images_count_together_in_a_fixed_order(drawn):
    kinds = ["PyraCanny", "CPDS", "ImagePrompt"]
    (made,), _, _ = drawn(controlnet_image=[guide(kind, 0.5) for kind in kinds])
    (turned,), _, _ = drawn(controlnet_image=[guide(kind, 0.5) for kind in reversed(kinds)])
    (fewer,), _, _ = drawn(controlnet_image=[guide(kind, 0.5) for kind in kinds[:2]])
    assert np.array_equal(made, turned) and not np.array_equal(made, fewer)


def test_what_control_images_come_to_can_be_looked_at(drawn, inputs):
    wish = {"controlnet_image": [guide("CPDS"), guide("PyraCanny")], "debugging_cn_preprocessor": True}
    (canny, cpds), ended, _ = drawn(**wish)
    assert canny.shape == cpds.shape == (96, 128, 3) and ended.seconds["sampling"] == 0
    assert (canny == 0).mean() > 0.5 > (cpds == 0).mean()
    (skipped, _), _, _ = drawn(**wish, skipping_cn_preprocessor=True)
    assert not np.array_equal(skipped, canny)


def test_thresholds_and_softness_count(drawn):
    def made(**changes):
        return drawn(controlnet_image=[guide("PyraCanny")], **changes)[0][0].tobytes()

    looks = {made(), made(canny_low_threshold=1, canny_high_threshold=2), made(controlnet_softness=0.9)}
    assert len(looks) == 3


def test_guides_mix_with_variation_and_inpainting(drawn):
    (varied,), _, _ = drawn(**VARY)
    mixed = {"controlnet_image": [guide("PyraCanny")]}
    (both,), _, _ = drawn(**VARY, **mixed, mixing_image_prompt_and_vary_upscale=True)
    assert both.shape == varied.shape and not np.array_equal(both, varied)
    (inpainted,), _, _ = drawn(**INPAINT)
    (both,), _, _ = drawn(**INPAINT, **mixed, mixing_image_prompt_and_inpaint=True)
    assert both.shape == inpainted.shape and not np.array_equal(both, inpainted)


def test_without_mixing_other_pictures_are_not_used_and_that_is_told(drawn):
    (alone,), _, _ = drawn(controlnet_image=[guide("PyraCanny")])
    (made,), ended, _ = drawn(controlnet_image=[guide("PyraCanny")], **VARY)
    assert np.array_equal(alone, made)
    assert any(note.startswith("uov_input_image is not used") for note in ended.notes)


def test_a_picture_that_went_away_is_told(drawn):
    with pytest.raises(FileNotFoundError, match=r"input picture gone\.png is gone"):
        drawn(**VARY | {"uov_input_image": "/inputs/gone.png"})


def test_the_built_in_model_repaints_without_a_head_where_it_has_none(drawn, inputs, monkeypatch, tmp_path):
    monkeypatch.setattr(builtin_set, "INPAINT_HEAD", tmp_path / "none.safetensors")
    (made,), ended, _ = drawn(None, **INPAINT | {"inpaint_engine": "v2.6"})
    assert made.shape == scene(inputs).shape
    assert "The built-in model repaints without an inpaint engine" in ended.notes


@pytest.fixture
def own_controls(toy, tmp_path, monkeypatch):
    """A control branch, an inpaint head and its patch that fit the toy model, which is the built-in one here."""
    generator, unet = torch.Generator().manual_seed(6), load_checkpoint(toy, torch.device("cpu")).unet
    files = {
        "CANNY": encoder(unet) | control_parts(unet, generator),
        "INPAINT_HEAD": {"head": torch.randn(unet.conv_in.out_channels, 5, 3, 3, generator=generator)},
        "INPAINT_PATCH": low_rank_patch(unet, generator),
    }
    for name, tensors in files.items():
        path = tmp_path / f"{name.lower()}.safetensors"
        eight_bit.pack(tensors, path, {"name": name})
        monkeypatch.setattr(builtin_set, name, path)


@pytest.mark.parametrize("kind", ["PyraCanny", "CPDS"])
def test_the_built_in_models_branch_reads_outlines_and_structure(drawn, own_controls, kind):
    (plain,), _, _ = drawn(None)
    (made,), _, _ = drawn(None, controlnet_image=[guide(kind)])
    (other,), _, _ = drawn(None, controlnet_image=[guide(kind, image="/inputs/other.png")])
    (without,), _, _ = drawn(None, controlnet_image=[guide(kind, stop=0.0)])
    assert not np.array_equal(made, plain) and not np.array_equal(made, other) and np.array_equal(without, plain)


def test_the_built_in_models_own_head_and_patch_stand_in_for_every_inpaint_engine(drawn, inputs, own_controls):
    (none,), ended, _ = drawn(None, **INPAINT | {"inpaint_engine": "None"})
    assert not any("inpaint engine" in note for note in ended.notes)
    made = []
    for engine in ("v1", "v2.6"):
        (picture,), ended, _ = drawn(None, **INPAINT | {"inpaint_engine": engine})
        made.append(picture)
        own = f"The built-in model repaints with an inpaint engine of its own, which stands in for {engine}"
        assert own in ended.notes
    assert np.array_equal(*made) and not np.array_equal(made[0], none)
    assert np.array_equal(made[0][0], scene(inputs)[0])
    (again,), _, _ = drawn(None, **INPAINT | {"inpaint_engine": "None"})
    assert np.array_equal(again, none)  # the patch came off


def test_a_checkpoint_is_never_controlled_or_repainted_with_the_built_in_sets_files(drawn, monkeypatch, tmp_path):
    wishes = ({"controlnet_image": [guide("PyraCanny")]}, INPAINT | {"inpaint_engine": "v2.6"})
    before = [drawn(**wish)[0][0] for wish in wishes]
    for name in ("CANNY", "INPAINT_HEAD", "INPAINT_PATCH"):
        (tmp_path / name).write_bytes(b"no model")
        monkeypatch.setattr(builtin_set, name, tmp_path / name)
    assert all(np.array_equal(made, drawn(**wish)[0][0]) for made, wish in zip(before, wishes, strict=True))


ENHANCE = {"enhance_checkbox": True, "enhance_uov_method": "Upscale (Fast 2x)"}


def test_every_drawn_picture_is_enhanced_after_all_are_drawn(drawn):
    plain, _, _ = drawn(image_number=2)
    pictures, _, _ = drawn(image_number=2, **ENHANCE)
    assert [picture.shape for picture in pictures] == [(96, 128, 3)] * 2 + [(192, 256, 3)] * 2
    assert all(np.array_equal(one, other) for one, other in zip(plain, pictures, strict=False))
    assert apart(pictures[2], pictures[3]) > 1


def test_only_the_last_of_each_chain_is_saved_if_asked(drawn):
    pictures, _, _ = drawn(**ENHANCE, save_final_enhanced_image_only=True)
    assert [picture.shape for picture in pictures] == [(192, 256, 3)]


def test_a_picture_that_is_given_is_enhanced_instead_of_drawing(drawn):
    given = {"enhance_input_image": SCENE, "enhance_checkbox": True, "image_number": 3}
    (made,), _, _ = drawn(**given, enhance_uov_method="Vary (Subtle)")
    (varied,), _, _ = drawn(**VARY)
    assert np.array_equal(made, varied)


def test_the_multiple_counts_for_enhancing_too(drawn):
    given = {"enhance_input_image": SCENE, "enhance_checkbox": True}
    (made,), _, _ = drawn(
        **given, enhance_uov_method="Upscale (Custom)", upscale_multiple=3.0, overwrite_upscale_strength=0.01
    )
    assert made.shape == (384, 480, 3)


@pytest.mark.parametrize("changes", [{}, {"uov_input_image": SCENE, "uov_method": "Upscale (Fast 2x)"}, ENHANCE])
def test_pictures_that_are_not_safe_for_work_are_black(drawn, changes):
    pictures, _, _ = drawn(**changes, black_out_nsfw=True)
    assert pictures and all(not picture.any() for picture in pictures)


def step(**members):
    """A step that finds the scene's red part."""
    return DEFAULTS["enhance_ctrls"][0] | {
        "enhance_enabled": True,
        "enhance_mask_model": "u2netp",
        "enhance_inpaint_engine": "None",
        "enhance_inpaint_strength": 0.98,
        **members,
    }


GIVEN = {"enhance_input_image": "/inputs/red.png", "enhance_checkbox": True}


def test_what_is_found_is_drawn_anew_and_nothing_else(drawn, inputs):
    (made,), _, _ = drawn(**GIVEN, enhance_ctrls=[step()])
    before = np.asarray(Image.open(inputs / "red.png"))
    assert np.array_equal(made[:, 110 + 32 :], before[:, 110 + 32 :])
    assert apart(made[50:80, 60:100], before[50:80, 60:100]) > 10


def test_steps_follow_each_other_with_prompts_of_their_own(drawn):
    steps = [step(enhance_prompt="a hat"), step(enhance_prompt=" , ", enhance_mask_invert=True)]
    (first, second), _, paths = drawn(**GIVEN, enhance_ctrls=[*steps, step(enhance_enabled=False)])
    assert not np.array_equal(first, second)
    prompts = [json.loads(Image.open(path).text["parameters"])["prompt"] for path in paths]
    assert prompts == ["a hat", "a red cat"]
    (last,), _, _ = drawn(**GIVEN, enhance_ctrls=steps, save_final_enhanced_image_only=True)
    assert np.array_equal(last, second)


@pytest.mark.parametrize(
    ("kind", "prompt"), [("Original Prompts", "a red cat"), ("Last Filled Enhancement Prompts", "a hat")]
)
def test_variation_comes_after_the_steps_with_the_prompts_asked_for(drawn, kind, prompt):
    _, _, paths = drawn(
        **GIVEN,
        enhance_ctrls=[step(enhance_prompt="a hat")],
        enhance_uov_method="Vary (Subtle)",
        enhance_uov_processing_order="After Last Enhancement",
        enhance_uov_prompt_type=kind,
    )
    assert [json.loads(Image.open(path).text["parameters"])["prompt"] for path in paths] == ["a hat", prompt]


def test_masks_can_be_seen_and_grown(drawn):
    def mask(**members):
        return drawn(**GIVEN, enhance_ctrls=[step(**members)], debugging_enhance_masks_checkbox=True)[0][0]

    plain, grown = mask(), mask(enhance_inpaint_erode_or_dilate=5)
    assert (grown > 127).sum() > (plain > 127).sum() > 0
    assert plain[65, 80, 0] > 127 > plain[65, 150, 0]


def test_a_step_that_finds_nothing_leaves_the_picture(drawn):
    given = GIVEN | {"enhance_input_image": "/inputs/blank.png"}
    made, ended, _ = drawn(**given, enhance_ctrls=[step()])
    assert made == [] and "Step 1 of the enhancement found nothing in image 1" in ended.notes
