"""Pictures of other programs and of the wild: their parameters are read whatever wrote them, and how."""

import io
import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engine import choices
from engine.images import a1111, metadata_reading
from engine.images.metadata import embedded_text
from engine.images.metadata_request import UNEXPLAINED, to_request
from tests.engine.images.test_metadata import generation, parameters

DATA = Path(__file__).parent / "data"
PAIRS = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x768, Model: toy"
EXIF_FOLDER, USER_COMMENT = 0x8769, 0x9286


class Folder:
    """The model files of a server."""

    def checkpoints(self):
        return ["toy.safetensors", "second.safetensors"]

    def loras(self):
        return ["kohya.safetensors", "sub/inner.safetensors"]

    def vaes(self):
        return ["sharp_vae.pt"]


def request_of(data):
    """The request that a picture's bytes, or the values read out of one, give; and the notes."""
    return to_request(metadata_reading.read(data) if isinstance(data, bytes) else data, Folder())


def request_of_file(name):
    return request_of((DATA / name).read_bytes())


def png(**chunks):
    """A small PNG with these texts."""
    texts, out = PngInfo(), io.BytesIO()
    for name, text in chunks.items():
        texts.add_text(name.replace("__", "-"), text if isinstance(text, str) else json.dumps(text))
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=texts)
    return out.getvalue()


def jpeg(comment):
    """A small JPEG with this user comment where cameras keep it."""
    exif, out = Image.Exif(), io.BytesIO()
    exif.get_ifd(EXIF_FOLDER)[USER_COMMENT] = comment
    Image.new("RGB", (8, 8)).save(out, "JPEG", exif=exif)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "sampler", "scheduler"),
    [
        ("schedule_type.png", "dpmpp_2m", "exponential"),
        ("a1111-karras-new.png", "euler_ancestral", "sgm_uniform"),
        ("a1111-hires.png", "dpmpp_3m_sde", "karras"),
        ("turbo4.png", "dpmpp_sde", "karras"),
    ],
)
def test_the_schedule_of_a_web_uis_picture_is_taken_over(name, sampler, scheduler):
    request, _ = request_of_file(name)
    assert (request["sampler_name"], request["scheduler_name"]) == (sampler, scheduler)


@pytest.mark.parametrize(
    ("sampler", "schedule", "names"),
    [
        ("DPM++ 2M", "Automatic", ("dpmpp_2m", "karras")),
        ("DPM++ 2M SDE", "Automatic", ("dpmpp_2m_sde", "exponential")),
        ("Euler a", "Automatic", ("euler_ancestral", "normal")),
        ("Euler", "Uniform", ("euler", "normal")),
        ("Euler", "DDIM", ("euler", "ddim_uniform")),
        ("DPM++ 2M SDE Exponential", "", ("dpmpp_2m_sde", "exponential")),
        ("Euler SGM Uniform", "", ("euler", "sgm_uniform")),
        ("euler", "karras", ("euler", "karras")),
        ("Euler", "", ("euler", None)),
        ("DPM++ 2M CFG++", "Beta", ("DPM++ 2M CFG++", "Beta")),
    ],
)
def test_labels_of_samplers_and_schedules_are_understood(sampler, schedule, names):
    assert a1111.sampling(sampler, schedule, prefer_gpu=False) == names


@pytest.mark.parametrize("pair", list(itertools.product(choices.SAMPLERS, a1111.SCHEDULE_LABELS)), ids="-".join)
def test_every_sampler_with_every_schedule_is_written_so_that_a_web_ui_reads_it(pair):
    sampler, scheduler = pair
    params = parameters(sampler_name=sampler, scheduler_name=scheduler)
    text = embedded_text(generation(params=params), "a1111")
    pairs = a1111.parsed(text)[2]
    read = a1111.sampling(pairs["Sampler"], pairs.get("Schedule type", ""), prefer_gpu=sampler.endswith("_gpu"))
    assert read == (sampler, scheduler)


def test_a_sampler_has_one_label_written_and_read():
    assert a1111.sampler_label("dpmpp_3m_sde_gpu", "exponential") == "DPM++ 3M SDE"
    assert [a1111.sampler_name("DPM++ 3M SDE", prefer_gpu=gpu) for gpu in (True, False)] == [
        "dpmpp_3m_sde_gpu",
        "dpmpp_3m_sde",
    ]
    assert a1111.sampler_name("HeunPP2", prefer_gpu=False) == "heunpp2"
    assert a1111.sampler_name("UniPC BH2", prefer_gpu=False) == "uni_pc_bh2"


@pytest.mark.parametrize("scheduler", choices.SCHEDULERS)
def test_every_scheduler_of_our_own_pictures_comes_back(scheduler):
    params = replace(parameters(sampler_name="euler"), scheduler_name=scheduler)
    text = embedded_text(generation(params=params), "a1111")
    assert request_of(png(parameters=text))[0]["scheduler_name"] == scheduler


@pytest.mark.parametrize(("name", "steps"), [("turbo4.png", 4), ("refiner_hash.png", 20)])
def test_steps_are_steps_and_no_performance_mode(name, steps):
    request, _ = request_of_file(name)
    assert request["overwrite_step"] == steps
    assert "performance_selection" not in request


@pytest.mark.parametrize("steps", [4, 8, 30, 60])
def test_steps_that_a_mode_has_too_are_no_mode_either(steps):
    request, _ = request_of({"steps": steps, "prompt": "x"})
    assert (request["overwrite_step"], request.get("performance_selection")) == (steps, None)


@pytest.mark.parametrize("name", ["undefined_charset.jpg", "unicode_with_bom.jpg"])
def test_user_comments_of_either_charset_are_read(name):
    request, notes = request_of_file(name)
    assert notes == []
    assert (request["prompt"], request["negative_prompt"], request["image_seed"]) == ("castle", "lowres", 5)
    assert (request["overwrite_width"], request["overwrite_height"]) == (512, 768)


@pytest.mark.parametrize("prompt", ["castle", "замок", "城堡の絵", "château", "قلعة", "🏰"])
@pytest.mark.parametrize(
    "encoded",
    [
        lambda text: b"UNICODE\0" + text.encode("utf-16-be"),
        lambda text: b"UNICODE\0" + text.encode("utf-16-le"),
        lambda text: b"UNICODE\0\xff\xfe" + text.encode("utf-16-le"),
        lambda text: b"UNICODE\0\xfe\xff" + text.encode("utf-16-be"),
        lambda text: b"UNICODE\0" + text.encode(),
        lambda text: b"ASCII\0\0\0" + text.encode(),
        lambda text: bytes(8) + text.encode(),
        lambda text: bytes(8) + text.encode("utf-16-le"),
        lambda text: text.encode(),
    ],
)
def test_user_comments_of_any_script_and_byte_order_are_read(encoded, prompt):
    request, _ = request_of(jpeg(encoded(f"{prompt}\n{PAIRS}")))
    assert (request["prompt"], request["image_seed"]) == (prompt, 5)


@pytest.mark.parametrize("encoding", ["iso2022_jp", "euc_jp", "cp932"])
def test_user_comments_in_jis_are_read(encoding):
    request, _ = request_of(jpeg(b"JIS\0\0\0\0\0" + f"城堡の絵\n{PAIRS}".encode(encoding)))
    assert request["prompt"] == "城堡の絵"


def test_utf_8_in_a_chunk_that_should_hold_latin_1_is_read():
    text = f"замок\n{PAIRS}".encode().decode("latin-1")
    assert request_of(png(parameters=text))[0]["prompt"] == "замок"


def test_parameters_in_a_comment_chunk_are_read():
    request, notes = request_of_file("comment_chunk.png")
    assert notes == []
    assert (request["prompt"], request["base_model_name"], request["image_seed"]) == ("a cat", "toy.safetensors", 5)


def test_a_comment_without_parameters_is_none():
    assert metadata_reading.read(png(Comment="Created with GIMP")) is None


def test_lines_after_the_pairs_are_pairs_and_no_prompt():
    request, _ = request_of_file("lines_after_the_pairs.png")
    assert (request["prompt"], request["negative_prompt"], request["image_seed"]) == ("x", "y", 22)


@pytest.mark.parametrize(
    "text",
    [
        f"a cat Negative prompt: fog\n{PAIRS}",
        f"a cat\nNegative prompt: fog {PAIRS}",
        f"a cat Negative prompt: fog {PAIRS}",
        f"a cat\r\nNegative prompt: fog\r\n{PAIRS}",
    ],
)
def test_missing_newlines_keep_prompts_and_pairs_apart(text):
    request, _ = request_of(png(parameters=text))
    assert (request["prompt"], request["negative_prompt"], request["overwrite_step"]) == ("a cat", "fog", 20)


def test_a_civitai_picture_and_lora_tags_are_understood():
    request, notes = request_of_file("civitai_onsite.png")
    assert (request["clip_skip"], request["prompt"]) == (2, "a cat")
    assert len(notes) == 1 and notes[0].endswith(": Civitai resources")
    assert request_of_file("lora_tags.png")[0]["prompt"] == "castle <lora:kohya:0.8>"


def test_names_with_a_hash_or_in_another_folder_find_their_files():
    request, notes = request_of_file("refiner_hash.png")
    assert (notes, request["refiner_model_name"], request["refiner_switch"]) == ([], "second.safetensors", 0.8)
    request, notes = request_of_file("windows_subfolder.png")
    assert (notes, request["base_model_name"]) == ([], "toy.safetensors")
    assert request["loras"][0]["model_name"] == "sub/inner.safetensors"


def test_styles_that_cannot_be_told_from_the_text_are_noted():
    request, notes = request_of_file("unrecovered_styles.png")
    assert (request["prompt"], notes) == ("CAT", [UNEXPLAINED])


def test_a_picture_of_ruinedfooocus_is_understood():
    request, notes = request_of_file("other_fork_json.png")
    assert notes == []
    assert request == {
        "prompt": "a cat",
        "negative_prompt": "dog",
        "style_selections": [],
        "sampler_name": "euler",
        "scheduler_name": "karras",
        "guidance_scale": 8.0,
        "image_seed": 5,
        "aspect_ratios_selection": "1152*896",
        "overwrite_width": -1,
        "overwrite_height": -1,
        "overwrite_step": 30,
        "freeu_enabled": False,
        "base_model_name": "toy.safetensors",
        "loras": [{"enabled": True, "model_name": "kohya.safetensors", "weight": 0.1}],
        "image_number": 1,
    }


def test_a_picture_of_swarmui_is_understood():
    request, notes = request_of_file("swarm.png")
    assert notes == []
    assert (request["prompt"], request["negative_prompt"], request["image_seed"]) == ("a cat", "dog", 1)
    values = {"prompt": "x", "sampler": "euler_ancestral", "scheduler": "karras", "loras": ["kohya"], "variation": 2}
    request, notes = request_of(png(parameters={"sui_image_params": values | {"loraweights": ["0.4"]}}))
    assert (request["sampler_name"], request["scheduler_name"]) == ("euler_ancestral", "karras")
    assert request["loras"] == [{"enabled": True, "model_name": "kohya.safetensors", "weight": 0.4}]
    assert len(notes) == 1 and notes[0].startswith("Written by SwarmUI") and notes[0].endswith(": variation")


def test_a_picture_of_invokeai_is_understood():
    values = {
        "app_version": "5.4",
        "generation_mode": "sdxl_txt2img",
        "positive_prompt": "a cat",
        "negative_prompt": "dog",
        "width": 832,
        "height": 1216,
        "seed": 7,
        "cfg_scale": 5.5,
        "steps": 25,
        "scheduler": "dpmpp_2m_sde_k",
        "model": {"key": "1", "name": "toy", "base": "sdxl"},
        "loras": [{"model": {"name": "kohya"}, "weight": 0.75}],
    }
    request, notes = request_of(png(invokeai_metadata=values))
    assert (request["prompt"], request["negative_prompt"], request["image_seed"]) == ("a cat", "dog", 7)
    assert (request["sampler_name"], request["scheduler_name"]) == ("dpmpp_2m_sde", "karras")
    assert (request["guidance_scale"], request["overwrite_step"]) == (5.5, 25)
    assert request["aspect_ratios_selection"] == "832*1216"
    assert request["base_model_name"] == "toy.safetensors"
    assert request["loras"] == [{"enabled": True, "model_name": "kohya.safetensors", "weight": 0.75}]
    assert len(notes) == 1 and notes[0].endswith(": generation_mode")


def test_a_picture_of_an_older_invokeai_is_understood():
    image = {"prompt": [{"prompt": "a cat [dog]", "weight": 1}], "seed": 3, "steps": 50, "cfg_scale": 7.5}
    image |= {"width": 512, "height": 640, "sampler": "k_euler_a"}
    request, _ = request_of(png(sd__metadata={"app_id": "invoke-ai/InvokeAI", "image": image}))
    assert (request["prompt"], request["negative_prompt"], request["image_seed"]) == ("a cat", "dog", 3)
    assert (request["sampler_name"], request["overwrite_height"]) == ("euler_ancestral", 640)


def test_a_picture_of_novelai_is_understood():
    values = {"steps": 28, "height": 1216, "width": 832, "scale": 5.0, "seed": 11, "uc": "lowres"}
    values |= {"sampler": "k_euler_ancestral", "noise_schedule": "karras", "sm": True}
    request, notes = request_of(png(Software="NovelAI", Description="1girl, cat ears", Comment=values))
    assert (request["prompt"], request["negative_prompt"], request["image_seed"]) == ("1girl, cat ears", "lowres", 11)
    assert (request["sampler_name"], request["scheduler_name"]) == ("euler_ancestral", "karras")
    assert len(notes) == 1 and notes[0].startswith("Written by NovelAI") and notes[0].endswith(": sm")


COMFY = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 8,
            "steps": 22,
            "cfg": 6.5,
            "sampler_name": "dpmpp_2m",
            "scheduler": "karras",
            "denoise": 1,
            "model": ["10", 0],
            "positive": ["20", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "SDXL\\toy.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 896, "height": 1152, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["10", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "dog", "clip": ["10", 1]}},
    "10": {
        "class_type": "LoraLoader",
        "inputs": {"lora_name": "kohya.safetensors", "strength_model": 0.6, "model": ["4", 0], "clip": ["4", 1]},
    },
    "20": {"class_type": "ControlNetApply", "inputs": {"conditioning": ["6", 0], "strength": 1}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0]}},
}


@pytest.mark.parametrize("in_exif", [False, True])
def test_a_graph_of_comfyui_is_understood(in_exif):
    data = png(prompt=COMFY, workflow={})
    if in_exif:
        exif, out = Image.Exif(), io.BytesIO()
        exif[0x0110] = "prompt:" + json.dumps(COMFY)
        Image.new("RGB", (8, 8)).save(out, "WEBP", exif=exif)
        data = out.getvalue()
    request, notes = request_of(data)
    assert (request["prompt"], request["negative_prompt"], request["image_seed"]) == ("a cat", "dog", 8)
    assert (request["sampler_name"], request["scheduler_name"]) == ("dpmpp_2m", "karras")
    assert (request["guidance_scale"], request["overwrite_step"]) == (6.5, 22)
    assert request["aspect_ratios_selection"] == "896*1152"
    assert request["base_model_name"] == "toy.safetensors"
    assert request["loras"] == [{"enabled": True, "model_name": "kohya.safetensors", "weight": 0.6}]
    assert len(notes) == 1 and notes[0].startswith("Written by ComfyUI") and notes[0].endswith(": ControlNetApply")


def test_a_graph_of_comfyui_with_little_in_it_gives_that_little():
    request, notes = request_of_file("comfy_graph.png")
    assert (request["image_seed"], request["overwrite_step"], notes) == (5, 20, [])


def test_a_graph_of_comfyui_that_goes_in_circles_ends():
    graph = {"1": {"class_type": "KSampler", "inputs": {"positive": ["2", 0], "seed": 4}}}
    graph |= {"2": {"class_type": "A", "inputs": {"x": ["3", 0]}}, "3": {"class_type": "B", "inputs": {"x": ["2", 0]}}}
    assert request_of(png(prompt=graph))[0]["image_seed"] == 4


def test_pairs_of_a_web_ui_without_a_counterpart_are_named():
    _, notes = request_of_file("a1111-hires.png")
    ends = ": Denoising strength, Hires upscale, Hires upscaler"
    assert len(notes) == 2 and any(note.startswith("Written by a web UI") and note.endswith(ends) for note in notes)
    _, notes = request_of_file("lines_after_the_pairs.png")
    assert notes == [], "templates of prompts are no parameters"
    pairs = ", ".join(f"Odd {number}: 1" for number in range(50))
    _, notes = request_of(png(parameters=f"a cat\nSteps: 2, Seed: 1, Model: toy, {pairs}"))
    assert notes[-1].endswith("Odd 19 and 30 more")
