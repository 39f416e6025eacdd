"""What the service adds to a Fooocus that draws in no time: milliseconds by what a request brings. Needs no GPU.

    python -m benchmarks.checkout_added --times 20

The tests' stand-in of a checkout draws two steps of a small picture; the input pictures are those of the parity cases,
of a megapixel, each sent for the first time. `added_ms` and `read_ms` as in `benchmarks.checkout`: the least, and the
median. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.checkout import renamed, through
from benchmarks.gpu import show
from benchmarks.parity import request
from benchmarks.parity_pictures import write_pictures
from tests.empty_models import EMPTY_MODEL
from tests.standin import make_standin, standin_server

MODEL = "toy.safetensors"
ALSO = ("upscale_models/fooocus_upscaler_s409985e5.bin", "inpaint/fooocus_inpaint_head.pth")
ALSO += ("inpaint/inpaint_v26.fooocus.patch",)
"""Files that inpainting and upscaling ask for; the stand-in reads none."""
CASES: dict[str, dict[str, Any]] = {
    "no picture": {},
    "vary": {"uov_method": "Vary (Subtle)", "uov_input_image": "scene.png"},
    "inpaint with a mask": {"inpaint_input_image": "scene.png", "inpaint_mask_image_upload": "mask.png"},
    "upscale, 0.4 megapixels": {"uov_method": "Upscale (Fast 2x)", "uov_input_image": "small.png"},
}


def checkout(folder: Path) -> Path:
    """The stand-in, with every model file that the cases ask for."""
    models = folder / "models"
    (models / "checkpoints").mkdir(parents=True)
    (models / "checkpoints" / MODEL).write_bytes(EMPTY_MODEL)
    root = make_standin(folder / "Fooocus", models)
    for place in ALSO:
        (root / "models" / place).write_bytes(b"here")
    return root


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="requests of each kind, after one that does not count")
    times = parser.parse_args().times
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    with tempfile.TemporaryDirectory() as name:
        folder, pictures = Path(name), Path(name) / "pictures"
        write_pictures(pictures)
        server = standin_server(folder / "instance", checkout(folder)).ready()
        try:
            for number in range(times + 1):
                for case, members in CASES.items():
                    params = request({"name": case, "size": "128*64", "steps": 2, **members})
                    params |= {"base_model_name": MODEL, "prompt": f"a cat, number {number}"}
                    params = renamed(params, f"{case} {number}", pictures)
                    _, seconds, inside, reading = through(server, case, params, pictures)
                    figures[case].append((1000 * (seconds - inside - reading), 1000 * reading))
        finally:
            server.stop()
    found = {}
    for case, (_, *measured) in figures.items():
        added, read = zip(*measured, strict=True)
        columns = {"added_ms": added, "read_ms": read}
        found[case] = {name: (round(min(each), 1), round(statistics.median(each), 1)) for name, each in columns.items()}
        show(case, found[case])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
