"""Metadata: what a picture's record says, in the rows, in both schemes, and through real files and back."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engine.images.codecs import encode
from engine.images.metadata import (
    AppliedLora,
    Generation,
    ModelFile,
    embedded_text,
    encode_options,
    rows,
)
from engine.images.metadata_reading import read
from engine.images.metadata_request import to_request
from engine.params import GenerateParams
from engine.prompt.style_recovery import recovered
from engine.prompt.styles import Styles
from schemas.generate import DEFAULTS, GenerateSchema
from tests.processor_time import processor_time

FOOOCUS_EXAMPLE = (
    '{"adm_guidance": "(1.5, 0.8, 0.3)", "base_model": "juggernautXL_v8Rundiffusion", "base_model_hash": "0123456789", '
    '"clip_skip": 2, "freeu": "(1.01, 1.02, 0.99, 0.95)", "full_negative_prompt": ["neg style", "ugly, bad"], '
    '"full_prompt": ["a cat", "style one", "a cat, cinematic"], "guidance_scale": 4.0, "lora_combined_1": '
    '"offset : 0.1", "loras": [["offset", 0.1, "0123456789"]], "metadata_scheme": "fooocus", "negative_prompt": '
    '"ugly, bad", "performance": "Speed", "prompt": "a cat\\nsecond line", "prompt_expansion": "a cat, cinematic", '
    '"refiner_model": "None", "refiner_switch": 0.5, "resolution": "(1152, 896)", "sampler": "dpmpp_2m_sde_gpu", '
    '"scheduler": "karras", "seed": "123", "sharpness": 2.0, "steps": 30, "styles": '
    '"[\'Fooocus V2\', \'Fooocus Sharp\']", "vae": "Default (model)", "version": "Fooocus v2.5.5"}'
)
A1111_EXAMPLE = (
    "a cat, style one, a cat, cinematic\n"
    "Negative prompt: neg style, ugly, bad\n"
    "Steps: 30, Sampler: DPM++ 2M SDE Karras, Seed: 123, Size: 1152x896, CFG scale: 4.0, Sharpness: 2.0, "
    'ADM Guidance: "(1.5, 0.8, 0.3)", Model: juggernautXL_v8Rundiffusion, Model hash: 0123456789, Performance: Speed, '
    'Scheduler: karras, VAE: Default (model), Raw prompt: "a cat\\nsecond line", Raw negative prompt: "ugly, bad", '
    'Clip skip: 2, FreeU: "(1.01, 1.02, 0.99, 0.95)", Lora hashes: "offset: 0123456789", Lora weights: "offset: 0.1", '
    'Version: Fooocus v2.5.5, User: "me, you"'
)
SCHEMES = ("fooocus", "a1111")
FORMATS = ("png", "jpg", "jpeg", "webp")
STYLES = Styles()


class Folder:
    """The model files of a server."""

    def checkpoints(self):
        return ["sub/juggernautXL_v8Rundiffusion.safetensors", "refiner.safetensors"]

    def loras(self):
        return ["sdxl_lcm_lora.safetensors", "offset.safetensors", "film.v1.safetensors"]

    def vaes(self):
        return ["sharp_vae.pt"]


def parameters(**changes):
    """The contract's defaults as the engine gets them, with changes."""
    sent = GenerateSchema().load(changes)
    values = {**DEFAULTS, **sent}
    values["aspect_ratios_selection"] = values["aspect_ratios_selection"].replace("*", "×")
    return GenerateParams.from_dict(values)


def generation(**changes):
    """The picture of the format's two examples, with changes."""
    example = Generation(
        params=parameters(freeu_enabled=True),
        seed=123,
        steps=30,
        size=(1152, 896),
        prompt="a cat\nsecond line",
        negative_prompt="ugly, bad",
        positive_texts=("a cat", "style one", "a cat, cinematic"),
        negative_texts=("neg style", "ugly, bad"),
        styles=("Fooocus V2", "Fooocus Sharp"),
        base_model=ModelFile("juggernautXL_v8Rundiffusion.safetensors", "0123456789"),
        loras=(AppliedLora("offset.safetensors", "0123456789", 0.1),),
        prompt_expansion="a cat, cinematic",
    )
    return replace(example, **changes)


def styled(prompt, negative, styles, expansion=""):
    """A generation whose texts are what these shipped styles make of the prompts."""
    lines, unwanted = prompt.split("\n"), [text for text in [negative] if text]
    applied = [STYLES.apply(name, lines[0]) for name in styles if name != "Fooocus V2"]
    texts = [text for style in applied for text in style.positive]
    if not any(style.has_prompt for style in applied):
        texts.insert(0, lines[0])
    return generation(
        prompt=prompt,
        negative_prompt=negative,
        positive_texts=(*texts, *lines[1:], *([expansion] if expansion else [])),
        negative_texts=(*(text for style in applied for text in style.negative), *unwanted),
        styles=tuple(styles),
        prompt_expansion=expansion,
    )


def saved(picture, scheme, output_format, folder):
    """The path of a small picture that carries this generation's metadata."""
    picture = replace(picture, params=replace(picture.params, metadata_scheme=scheme))
    path = folder / f"picture.{output_format}"
    pixels = np.full((48, 64, 3), (0, 128, 128), np.uint8)
    path.write_bytes(encode(pixels, output_format, **encode_options(picture, output_format)))
    return path


def test_the_fooocus_scheme_is_one_line_of_sorted_json():
    assert embedded_text(generation(), "fooocus") == FOOOCUS_EXAMPLE


def test_the_a1111_scheme_is_prompts_and_a_line_of_pairs():
    assert embedded_text(generation(created_by="me, you"), "a1111") == A1111_EXAMPLE


def test_the_creator_is_named_only_if_there_is_one():
    assert json.loads(embedded_text(generation(created_by="Ada"), "fooocus"))["created_by"] == "Ada"
    assert "User" not in embedded_text(generation(), "a1111")


def test_a_hash_that_is_not_known_is_left_out():
    picture = generation(base_model=ModelFile("a.safetensors"), loras=(AppliedLora("b.safetensors", weight=0.5),))
    values = json.loads(embedded_text(picture, "fooocus"))
    assert "base_model_hash" not in values
    assert values["loras"] == [["b", 0.5, None]]
    assert "hash" not in embedded_text(picture, "a1111").lower()


def test_rows_come_in_their_order_and_those_without_meaning_stay_away():
    listed = rows(generation(loras=(None, AppliedLora("sub/offset.safetensors", None, 0.1))))
    assert [row.key for row in listed] == [
        *("prompt", "negative_prompt", "prompt_expansion", "styles", "performance", "steps", "resolution"),
        *("guidance_scale", "sharpness", "adm_guidance", "base_model", "refiner_model", "refiner_switch"),
        *("clip_skip", "sampler", "scheduler", "vae", "seed", "freeu"),
        *("lora_combined_2", "metadata_scheme", "version"),
    ]
    values = {row.key: row.value for row in listed}
    assert values["lora_combined_2"] == "sub/offset.safetensors : 0.1"
    assert values["metadata_scheme"] == "fooocus"
    assert values["refiner_model"] == "None"


def test_rows_tell_of_a_refiner_and_of_every_departure():
    params = parameters(adaptive_cfg=5, clip_skip=1, refiner_swap_method="vae", overwrite_switch=12)
    picture = generation(params=params, refiner_model=ModelFile("refiner.safetensors"), notes=("left out: x",))
    values = {row.label: row.value for row in rows(picture)}
    assert values["Refiner Model"] == "refiner.safetensors"
    assert (values["Overwrite Switch"], values["Refiner Swap Method"]) == (12, "vae")
    assert values["CFG Mimicking from TSNR"] == 5
    assert values["Notes"] == "left out: x"
    assert not {"CLIP Skip", "FreeU"} & set(values)


def test_rows_say_when_nothing_was_embedded(tmp_path):
    picture = generation(params=parameters(save_metadata_to_images=False))
    assert {row.key: row.value for row in rows(picture)}["metadata_scheme"] is False
    assert {row.key: row.value for row in rows(generation(), embedded=False)}["metadata_scheme"] is False
    assert read(saved(picture, "fooocus", "png", tmp_path)) is None


def test_a_png_has_two_text_chunks_in_fooocus_order(tmp_path):
    with Image.open(saved(generation(), "a1111", "png", tmp_path)) as image:
        assert list(image.info.items()) == [
            ("parameters", embedded_text(generation(), "a1111")),
            ("fooocus_scheme", "a1111"),
        ]


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_exif_has_text_program_and_scheme_in_its_first_directory(output_format, tmp_path):
    with Image.open(saved(generation(), "fooocus", output_format, tmp_path)) as image:
        assert dict(image.getexif()) == {0x9286: FOOOCUS_EXAMPLE, 0x0131: "Fooocus v2.5.5", 0x927C: "fooocus"}


@pytest.mark.parametrize(("output_format", "options"), [("png", {}), ("jpeg", {"quality": 95}), ("webp", {})])
def test_metadata_written_by_pillow_is_read_alike(output_format, options, tmp_path):
    carried = encode_options(generation(), output_format)
    if "texts" in carried:
        options["pnginfo"] = PngInfo()
        for key, text in carried["texts"].items():
            options["pnginfo"].add_text(key, text)
    else:
        options["exif"] = carried["exif"]
    path = tmp_path / f"picture.{output_format}"
    Image.new("RGB", (64, 48), "teal").save(path, **options)
    assert read(path) == read(path.read_bytes()) == json.loads(FOOOCUS_EXAMPLE)


def test_a_text_too_long_for_jpeg_leaves_the_picture_without(tmp_path):
    picture = generation(prompt="cat " * 20_000)
    assert encode_options(picture, "jpg") == encode_options(picture, "jpeg") == {}
    assert read(saved(picture, "fooocus", "jpeg", tmp_path)) is None
    assert read(saved(picture, "fooocus", "webp", tmp_path))["prompt"] == picture.prompt


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_picture_read_back_gives_the_request_that_drew_it(scheme, output_format, tmp_path):
    picture = styled(
        "a cat, black: 猫\nsecond line",
        'ugly, "bad"',
        ["Fooocus V2", "MRE Anime", "Fooocus Enhance"],
        "a cat, soft light",
    )
    picture = replace(
        picture,
        params=parameters(freeu_enabled=True, freeu_b1=1.1, guidance_scale=5.5, adm_scaler_end=0.25, clip_skip=1),
        seed=2**63 - 1,
        steps=22,
        size=(1000, 640),
        loras=(None, AppliedLora("film.v1.safetensors", "abcdefabcd", -0.25)),
    )
    request, notes = to_request(read(saved(picture, scheme, output_format, tmp_path)), Folder(), STYLES)
    assert notes == []
    expected = {
        "prompt": picture.prompt,
        "negative_prompt": picture.negative_prompt,
        "style_selections": ["Fooocus V2", "MRE Anime", "Fooocus Enhance"],
        "performance_selection": "Speed",
        "sampler_name": "dpmpp_2m_sde_gpu",
        "scheduler_name": "karras",
        "guidance_scale": 5.5,
        "sharpness": 2.0,
        "clip_skip": 1,
        "image_seed": 2**63 - 1,
        "overwrite_width": 1000,
        "overwrite_height": 640,
        "overwrite_step": 22,
        "adm_scaler_positive": 1.5,
        "adm_scaler_negative": 0.8,
        "adm_scaler_end": 0.25,
        "freeu_enabled": True,
        "freeu_b1": 1.1,
        "freeu_b2": 1.02,
        "freeu_s1": 0.99,
        "freeu_s2": 0.95,
        "base_model_name": "sub/juggernautXL_v8Rundiffusion.safetensors",
        "vae_name": "Default (model)",
        "loras": [{"enabled": True, "model_name": "film.v1.safetensors", "weight": -0.25}],
        "image_number": 1,
    }
    expected |= {"refiner_model_name": "None", "refiner_switch": 0.5} if scheme == "fooocus" else {}
    assert request == expected
    assert parameters(**request).image_seed == picture.seed


def test_a_refiner_and_its_settings_come_back(tmp_path):
    params = parameters(refiner_switch=0.75, refiner_swap_method="separate", overwrite_switch=20, adaptive_cfg=6)
    picture = replace(
        styled("a cat", "ugly", ["Fooocus Sharp"]),
        params=params,
        refiner_model=ModelFile("refiner.safetensors", "00"),
        vae="sharp_vae.pt",
    )
    for scheme in SCHEMES:
        request, notes = to_request(read(saved(picture, scheme, "png", tmp_path)), Folder(), STYLES)
        assert notes == []
        assert request["refiner_model_name"] == "refiner.safetensors"
        assert request["refiner_swap_method"] == "separate"
        assert (request["overwrite_switch"], request["adaptive_cfg"]) == (20, 6)
        assert request["vae_name"] == "sharp_vae.pt"


def test_a_usual_size_and_the_steps_of_the_mode_need_no_overwriting(tmp_path):
    request, _ = to_request(read(saved(generation(), "fooocus", "png", tmp_path)), Folder(), STYLES)
    assert request["aspect_ratios_selection"] == "1152*896"
    assert {request[name] for name in ("overwrite_width", "overwrite_height", "overwrite_step")} == {-1}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_lora_of_the_performance_mode_is_not_asked_for_twice(scheme, tmp_path):
    picture = generation(
        params=parameters(performance_selection="Extreme Speed"),
        steps=8,
        loras=(AppliedLora("offset.safetensors", None, 0.5), AppliedLora("sdxl_lcm_lora.safetensors", None, 1.0)),
    )
    request, _ = to_request(read(saved(picture, scheme, "png", tmp_path)), Folder(), STYLES)
    assert request["loras"] == [{"enabled": True, "model_name": "offset.safetensors", "weight": 0.5}]
    assert (request["performance_selection"], request["overwrite_step"]) == ("Extreme Speed", -1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_models_that_are_not_here_are_left_out_with_a_note(scheme, tmp_path):
    picture = replace(
        styled("a cat", "ugly", ["Fooocus Sharp"]),
        base_model=ModelFile("other.safetensors"),
        loras=(AppliedLora("gone.safetensors"),),
    )
    request, notes = to_request(read(saved(picture, scheme, "png", tmp_path)), Folder(), STYLES)
    assert "base_model_name" not in request
    assert request["loras"] == []
    assert notes == [
        "base_model is left out: there is no checkpoint 'other' here",
        "a LoRA is left out: there is no LoRA 'gone' here",
    ]


def test_a_picture_of_the_web_ui_is_understood(tmp_path):
    text = (
        "a harbour at dawn, boats\n<lora:film.v1:0.5>\nNegative prompt: fog,\nrain\n"
        "Steps: 8, Sampler: DPM++ SDE Karras, CFG scale: 7, Seed: 42, Size: 512x768, Model hash: abc, "
        'Model: refiner, Hires upscaler: "4x, sharp", Version: v1.9'
    )
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode("utf-16-be")
    path = tmp_path / "picture.jpg"
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    request, notes = to_request(read(path), Folder(), STYLES)
    assert len(notes) == 1 and notes[0].endswith(": Hires upscaler")
    assert request == {
        "prompt": "a harbour at dawn, boats\n<lora:film.v1:0.5>",
        "negative_prompt": "fog,\nrain",
        "style_selections": [],
        "sampler_name": "dpmpp_sde",
        "scheduler_name": "karras",
        "guidance_scale": 7.0,
        "image_seed": 42,
        "overwrite_width": 512,
        "overwrite_height": 768,
        "overwrite_step": 8,
        "freeu_enabled": False,
        "base_model_name": "refiner.safetensors",
        "loras": [],
        "image_number": 1,
    }


def test_an_old_log_with_labels_is_understood():
    found = {"Prompt": "a cat", "Styles": "['Fooocus V2']", "Resolution": "('832', '1216')", "LoRA 1": "film.v1 : 0.5"}
    request, notes = to_request(found, Folder(), STYLES)
    assert notes == []
    assert (request["prompt"], request["aspect_ratios_selection"]) == ("a cat", "832*1216")
    assert request["loras"][0]["model_name"] == "film.v1.safetensors"


@pytest.mark.parametrize("styles", [["Fooocus Enhance"], ["Mk Dayak Art", "Fooocus Sharp", "Ads Luxury"], []])
@pytest.mark.parametrize("expansion", ["", "a red fox, vivid, calm"])
@pytest.mark.parametrize("negative", ["", "fog, rain"])
def test_styles_are_told_from_the_text_they_made(styles, expansion, negative):
    picture = styled("a red fox", negative, styles, expansion)
    positive, unwanted = ", ".join(picture.positive_texts), ", ".join(picture.negative_texts)
    expanded = ["Fooocus V2"] if expansion else []
    found = recovered(positive, unwanted, STYLES, picture.prompt, picture.negative_prompt)
    assert (found.styles, found.prompt, found.negative_prompt) == (expanded + styles, "a red fox", negative)
    blind = recovered(positive, unwanted, STYLES)
    assert (blind.styles, blind.prompt, blind.negative_prompt) == (expanded + styles, "a red fox", negative)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("styles", "__import__('os').system('true')"),
        ("styles", "(" * 9000),
        ("adm_guidance", "(1.5, 0.8)"),
        ("freeu", "(1, 2, 3, float('nan'))"),
        ("resolution", "wide"),
        ("guidance_scale", "nan"),
        ("sharpness", True),
        ("seed", 1.5),
        ("steps", [30]),
        ("sampler", "unheard_of"),
        ("prompt", {"a": 1}),
        ("lora_combined_1", "film.v1 0.5"),
    ],
)
def test_a_value_that_makes_no_sense_is_left_out_with_a_note(key, value):
    request, notes = to_request({key: value, "version": "Fooocus v2.5.5"}, Folder(), STYLES)
    assert len(notes) == 1
    assert parameters(**request).image_number == 1


def test_what_is_no_picture_is_refused_in_words():
    with pytest.raises(ValueError, match="not a PNG, JPEG or WebP"):
        read(b"GIF89a nothing")
    with pytest.raises(ValueError, match="not a PNG, JPEG or WebP"):
        read(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)


def test_texts_that_could_stand_anywhere_in_each_other_are_told_apart_at_once():
    with processor_time(5):
        found = recovered("a" * 200_000, "b" * 200_000, STYLES, "a" * 100_000, "b" * 100_000)
    assert found.styles == ["Fooocus V2"] and found.prompt == "a" * 100_000
