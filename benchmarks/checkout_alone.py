"""The public Fooocus by itself: run by its own Python in its own folder, it draws requests as its page would have it.

`python benchmarks/checkout_alone.py FILE OUT [FLAGS…]` reads complete requests by name from FILE (JSON), saves each
picture as OUT/<name>.png, and prints a JSON line with the seconds from the queue to the end. Nothing of the service is
imported: what stands here is the order of the page's controls, so that one half checks the other.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TICK = 0.01
"""Seconds between two looks at what the task says, as the page looks."""
BEFORE_LORAS = (
    *("style_selections", "performance_selection", "aspect_ratios_selection", "image_number", "output_format"),
    *("image_seed", "read_wildcards_in_order", "sharpness", "guidance_scale", "base_model_name", "refiner_model_name"),
    "refiner_switch",
)
AFTER_PICTURES = (
    *("disable_preview", "disable_intermediate_results", "disable_seed_increment", "black_out_nsfw"),
    *("adm_scaler_positive", "adm_scaler_negative", "adm_scaler_end", "adaptive_cfg", "clip_skip", "sampler_name"),
    *("scheduler_name", "vae_name", "overwrite_step", "overwrite_switch", "overwrite_width", "overwrite_height"),
    *("overwrite_vary_strength", "overwrite_upscale_strength", "mixing_image_prompt_and_vary_upscale"),
    *("mixing_image_prompt_and_inpaint", "debugging_cn_preprocessor", "skipping_cn_preprocessor"),
    *("canny_low_threshold", "canny_high_threshold", "refiner_swap_method", "controlnet_softness", "freeu_enabled"),
    *("freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2", "debugging_inpaint_preprocessor"),
    *("inpaint_disable_initial_latent", "inpaint_engine", "inpaint_strength", "inpaint_respective_field"),
)
AFTER_MASK = ("invert_mask_checkbox", "inpaint_erode_or_dilate", "save_final_enhanced_image_only")
ENHANCED = (
    *("debugging_dino", "dino_erode_or_dilate", "debugging_enhance_masks_checkbox", "enhance_input_image"),
    *("enhance_checkbox", "enhance_uov_method", "enhance_uov_processing_order", "enhance_uov_prompt_type"),
)
NO_ENHANCEMENT = [False, "", "", "", "sam", "full", "vit_b", 0.25, 0.3, 0, False, "v2.6", 1.0, 0.618, 0, False]
TABS = {"controlnet_image": "ip", "uov_input_image": "uov", "inpaint_input_image": "inpaint"}
NO_IMAGE = [None, 0.5, 0.6, "ImagePrompt"]
LORAS, CONTROL_IMAGES, ENHANCE_TABS = 5, 4, 3


def picture(path: str | None) -> np.ndarray | None:
    """The picture's pixels, `[height, width, 3]`."""
    return None if path is None else np.asarray(Image.open(path).convert("RGB"))


def controls(request: dict[str, Any], worker: str) -> Iterator[Any]:
    """The values of the page's controls in their order, for a worker with this source."""
    tab = next((tab for name, tab in TABS.items() if request[name]), "")
    painted = picture(request["inpaint_input_image"])
    mask = picture(request["inpaint_mask_image_upload"])
    yield from (request["generate_image_grid"], request["prompt"], request["negative_prompt"])
    if "self.translate_prompts" in worker:
        yield False
    yield from (request[name] for name in BEFORE_LORAS)
    loras = [(True, lora["model_name"], lora["weight"]) for lora in request["loras"] if lora["enabled"]]
    for lora in [*loras, *[(False, "None", 1.0)] * (LORAS - len(loras))]:
        yield from lora
    yield from (bool(tab), tab or "uov", request["uov_method"], picture(request["uov_input_image"]))
    yield request["outpaint_selections"]
    yield None if painted is None else {"image": painted, "mask": np.zeros_like(painted)}
    yield from (request["inpaint_additional_prompt"], mask)
    yield from (request[name] for name in AFTER_PICTURES)
    yield mask is not None
    yield from (request[name] for name in AFTER_MASK)
    yield from (request["save_metadata_to_images"], request["metadata_scheme"])
    given = [
        [picture(one["cn_img"]), one["cn_stop"], one["cn_weight"], one["cn_type"]]
        for one in request["controlnet_image"]
    ]
    for one in [*given, *[NO_IMAGE] * (CONTROL_IMAGES - len(given))]:
        yield from one
    yield from (request[name] for name in ENHANCED)
    for _ in range(ENHANCE_TABS):
        yield from NO_ENHANCEMENT


def draw(worker: Any, request: dict[str, Any], source: str) -> tuple[float, list[str]]:
    """Seconds from reading the request's pictures to the end, and the files."""
    begun = time.perf_counter()
    task = worker.AsyncTask(args=list(controls(request, source)))
    worker.async_tasks.append(task)
    while True:
        time.sleep(TICK)
        if task.yields:
            flag, product = task.yields.pop(0)
            if flag == "finish":
                return time.perf_counter() - begun, product
        elif threading.active_count() < 2:
            raise SystemExit("the worker ended")


def main() -> None:
    """Draw every request of a file."""
    file, out, flags = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3:]
    requests = json.loads(file.read_text("utf-8"))
    sys.path[0], sys.argv = str(Path.cwd()), ["launch.py", "--output-path", str(out / "theirs"), *flags]
    import modules.config as config

    first = next(iter(requests.values()))
    config.default_base_model_name, config.default_loras = first["base_model_name"], []
    config.default_refiner_model_name = "None"
    config.update_files()
    import modules.async_worker as worker

    source = Path("modules/async_worker.py").read_text("utf-8")
    for name, request in requests.items():
        seconds, files = draw(worker, request, source)
        for number, path in enumerate(files):
            shutil.copyfile(path, out / (f"{name}-{number}.png" if number else f"{name}.png"))
        print(json.dumps({"name": name, "seconds": round(seconds, 3), "pictures": len(files)}), flush=True)


if __name__ == "__main__":
    main()
