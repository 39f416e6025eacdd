"""The public Fooocus by itself and as the engine of the service: the same pictures, and what the service adds.

    python -m benchmarks.checkout PATH                          parity cases both ways; PATH is a checkout
    python -m benchmarks.checkout PATH --times 5                the program alone: default requests, warm
    python -m benchmarks.checkout PATH --times 3 --gib all 8    the same with all of the card, then 8 GiB of it
    python -m benchmarks.checkout PATH --tiny                   smaller pictures of two steps: a dry run
    python -m benchmarks.checkout PATH --pictures OUT --half alone      one half, its pictures and times kept in OUT;
    python -m benchmarks.checkout PATH --pictures OUT --half service    later, or on another day, the other beside it
    python -m benchmarks.checkout PATH --repeat 3               each case three times through the service

Both ways read the same model files, random ones of full size, which lie in `--models` (made where they are not).
`--python` runs the checkout. A picture drawn both ways must have the same bytes. The service's own time, `added_ms`, is
the client's wait from the first byte that it sends, less what the program took for the same task, and less `read_ms`,
in which it reads the request's pictures: by itself it does so too, and its own seconds have that in them. Each file is
one that no request has brought; but the first request of all and the first with a picture do not count, for what a
server needs for them is not in its memory yet. What is added is told by the median of the repeated ones, the waits are
those of the first. Each figure is printed as it comes; the last line is JSON.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.ballast import ballast
from benchmarks.gpu import STYLES, page_in, show
from benchmarks.make_checkpoint import SIZES
from benchmarks.parity import CASES, request
from benchmarks.parity_models import BASE, LORAS, write_models
from benchmarks.parity_pictures import write_pictures
from engine.images.codecs import with_texts
from engine.required_files import UPSCALER
from fooocus_flask.runner.checkout_engine import FLAGS
from schemas.generate import DEFAULTS
from tests.serving import GENERATE, Server

CHOSEN = (
    *("plain", "styles-sharp", "long-prompt", "wide", "lora", "freeu", "expansion-1", "vary-subtle", "inpaint-none"),
    "upscale-fast-2x",
)
PLACES = (
    *(f"checkpoints/{BASE}", f"loras/{LORAS[0]}", f"upscale_models/{UPSCALER}"),
    "prompt_expansion/fooocus_expansion/pytorch_model.bin",
)
PREVIEWS = "vae_approx/xlvaeapp.pth"
PREVIEW_LAYERS = ((4, 8, 7), (8, 16, 5), (16, 32, 3), (32, 64, 3), (64, 32, 3), (32, 16, 3), (16, 8, 3), (8, 3, 3))
"""Channels in and out, and the kernel's side, of the network of Fooocus's previews."""
PATHS = {
    "path_checkpoints": "checkpoints",
    "path_loras": "loras",
    "path_upscale_models": "upscale_models",
    "path_vae_approx": "vae_approx",
    "path_fooocus_expansion": "prompt_expansion/fooocus_expansion",
}
TINY = {"overwrite_step": 2, "overwrite_width": 256, "overwrite_height": 256}
TOLD = r"in (\d+\.\d+) s of Fooocus, its pictures read in (\d+\.\d+) s"
WORDS = ("a harbour", "a meadow", "a library", "a desert", "a bridge", "a garden", "a kitchen", "a glacier")
WARM, TIMES = "warm", "times.json"
MEMBERS = ("cn_img", "uov_input_image", "inpaint_input_image", "inpaint_mask_image_upload")


def prepare(root: Path, models: Path) -> Path:
    """Have the model files there, and a `config.txt` that leads to them; gives its path."""
    missing = [place for place in PLACES if not (models / place).is_file()]
    if missing:
        write_models(models, SIZES["sdxl"], places=missing)
    for path in (root / "models" / "prompt_expansion" / "fooocus_expansion").iterdir():
        if not (models / PATHS["path_fooocus_expansion"] / path.name).exists():
            shutil.copy(path, models / PATHS["path_fooocus_expansion"])
    if not (models / PREVIEWS).is_file():
        write_preview_network(models / PREVIEWS)
    write_pictures(models / "pictures")
    config = models / "config.txt"
    config.write_text(json.dumps({key: str(models / place) for key, place in PATHS.items()}), "utf-8")
    page_in(models / "checkpoints" / BASE)
    return config


def write_preview_network(path: Path) -> None:
    """Random weights for the network of previews."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random, found = torch.Generator().manual_seed(0), {}
    for number, (inner, outer, side) in enumerate(PREVIEW_LAYERS, 1):
        spread = (inner * side * side) ** -0.5
        found[f"conv{number}.weight"] = torch.randn((outer, inner, side, side), generator=random) * spread
        found[f"conv{number}.bias"] = torch.zeros(outer)
    torch.save(found, path)


def with_pictures(params: dict[str, Any], told: Any) -> dict[str, Any]:
    """The parameters with what `told` makes of each picture's name."""
    changed = {name: told(value) if name in MEMBERS and value else value for name, value in params.items()}
    changed["controlnet_image"] = [{**one, "cn_img": told(one["cn_img"])} for one in params["controlnet_image"]]
    return changed


def alone(
    arguments: argparse.Namespace, config: Path, requests: dict[str, Any], out: Path, gib: float | None = None
) -> dict[str, float]:
    """Seconds of each request, drawn by the program itself; pictures go to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "requests.json"
    folder = arguments.models / "pictures"
    given = {name: with_pictures(one, lambda picture: str(folder / picture)) for name, one in requests.items()}
    file.write_text(json.dumps(given), "utf-8")
    script = Path(__file__).with_name("checkout_alone.py")
    plan = FLAGS["MEMORY_PLAN"][arguments.plan].split() if arguments.plan else []
    command = [arguments.python, str(script), str(file), str(out), *plan, *arguments.flags.split()]
    environment = {**os.environ, "config_path": str(config), "HF_HUB_OFFLINE": "1"}
    seconds: dict[str, float] = {}
    words: list[str] = []
    with (
        ballast(gib),
        subprocess.Popen(command, cwd=arguments.path, env=environment, stdout=subprocess.PIPE, text=True) as program,
    ):
        assert program.stdout is not None
        for line in program.stdout:
            words.append(line)
            if line.startswith('{"name"'):
                told = json.loads(line)
                seconds[told["name"]] = told["seconds"]
                show(f"alone: {told['name']}", {"s": told["seconds"]})
    if program.returncode or len(seconds) < len(requests):
        print("".join(words)[-3000:], f"exit {program.returncode}", sep="\n", flush=True)
    return seconds


@contextlib.contextmanager
def service(arguments: argparse.Namespace, config: Path, folder: Path) -> Iterator[Server]:
    """The service over the checkout."""
    environment = {"FOOOCUS_PATH": str(arguments.path), "FOOOCUS_PYTHON": arguments.python, "config_path": str(config)}
    environment |= {"FOOOCUS_ENGINE_STEP_PATIENCE": "1200", "FOOOCUS_NOWEBUI": "1"}
    environment |= {"FOOOCUS_MEMORY_PLAN": arguments.plan}
    if not torch.cuda.is_available():
        environment["FOOOCUS_DEVICE"] = "cpu"
    environment["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(os.cpu_count()))
    server = Server(folder / "instance", Path("models"), **environment)
    try:
        yield server.ready()
    finally:
        server.stop()


def renamed(params: dict[str, Any], mark: str, pictures: Path) -> dict[str, Any]:
    """The request with pictures of the same pixels that no request has brought yet."""

    def another(picture: str) -> str:
        name = f"{mark}-{picture}"
        (pictures / name).write_bytes(with_texts((pictures / picture).read_bytes(), {"mark": mark}))
        return name

    return with_pictures(params, another)


def through(server: Server, name: str, params: dict[str, Any], pictures: Path) -> tuple[bytes, float, float, float]:
    """A request's picture through the service, the client's seconds, the program's own, and those of reading."""
    body = {member: value for member, value in params.items() if value != DEFAULTS.get(member)}
    body = {"prompt": params["prompt"], "loras": params["loras"], "controlnet_image": [], **body}
    sent = with_pictures(body, lambda file: base64.b64encode((pictures / file).read_bytes()).decode())
    data = json.dumps(sent).encode()
    begun = time.perf_counter()
    reply = server.ask("POST", GENERATE, data, Content_Type="application/json")
    seconds = time.perf_counter() - begun
    assert reply.status == 200 and reply.json["result"], (name, reply.body[:2000])
    task = server.said(rf"task {reply.json['task_id']} finished {TOLD}")
    url = reply.json["result"][0]
    picture = server.get("/outputs/" + url.partition("/outputs/")[2]).body
    return picture, seconds, float(task.group(1)), float(task.group(2))


def halves(arguments: argparse.Namespace, config: Path) -> dict[str, Any]:
    """Each case's seconds, both ways or one."""
    named = {case["name"]: case for case in CASES}
    requests = {name: request(named[name]) | arguments.change for name in arguments.cases}
    requests = warm_up(requests) | requests
    with tempfile.TemporaryDirectory() as folder:
        pictures = arguments.pictures or Path(folder) / "alone"
        if arguments.half != "service":
            seconds = alone(arguments, config, requests, pictures)
            (pictures / TIMES).write_text(json.dumps(seconds), "utf-8")
        if arguments.half == "alone":
            return {"alone_s": seconds}
        return beside(arguments, config, requests, pictures, Path(folder))


def beside(
    arguments: argparse.Namespace, config: Path, requests: dict[str, Any], pictures: Path, folder: Path
) -> dict[str, Any]:
    """The requests through the service, each beside what the program alone left in `pictures`."""
    theirs = json.loads((pictures / TIMES).read_text("utf-8"))
    found: dict[str, Any] = {}
    with service(arguments, config, folder) as server:
        given = arguments.models / "pictures"
        for name, params in requests.items():
            warm = name.startswith(WARM)
            times = 1 if warm else arguments.repeat
            tries = [renamed(params, f"{name}-{number}", given) for number in range(times)]
            drawn = [through(server, name, each, given) for each in tries]
            if not warm:
                found[name] = {"alone_s": theirs.get(name)} | told(pictures / f"{name}.png", drawn)
                show(name, found[name])
    added = [case["added_ms"] for case in found.values()]
    same = sum(case["same_bytes"] for case in found.values())
    total = {"same": same, "of": len(found), "added_ms": round(statistics.median(added), 1), "most_ms": max(added)}
    show("in all", total)
    return {"cases": found, "in_all": total}


def warm_up(requests: dict[str, Any]) -> dict[str, Any]:
    """What is drawn before: the first request with other words, and the first that brings a picture."""
    first = next(iter(requests.values())) | {"prompt": "to load all there is"}
    bringing = [params for params in requests.values() if brings_picture(params)]
    return {WARM: first} | {f"{WARM}-picture": params for params in bringing[:1]}


def brings_picture(params: dict[str, Any]) -> bool:
    """Whether a request has an input picture."""
    return bool(params["controlnet_image"]) or any(params.get(name) for name in MEMBERS)


def told(own: Path, drawn: list[tuple[bytes, float, float, float]]) -> dict[str, Any]:
    """What one case took, and whether it had the bytes of the program's `own` picture at first; else it is kept.

    By itself too, a Fooocus that draws an inpainting request again draws it otherwise.
    """
    first = drawn[0][0]
    same = own.is_file() and own.read_bytes() == first
    if not same:
        own.with_name(f"{own.stem}-service.png").write_bytes(first)
    _, seconds, inside, reading = map(list, zip(*drawn, strict=True))
    added = [wait - drew - read for wait, drew, read in zip(seconds, inside, reading, strict=True)]
    return {
        "client_s": round(seconds[0], 3),
        "added_ms": round(1000 * statistics.median(added), 1),
        "worst_ms": round(1000 * max(added), 1),
        "read_ms": round(1000 * statistics.median(reading), 1),
        "same_bytes": same,
    }


def times(arguments: argparse.Namespace, config: Path, gib: float | None) -> dict[str, float]:
    """Seconds of warm default requests, which all have words of their own, by the program alone."""
    requests: dict[str, Any] = {}
    for number in (1, 4):
        for count in range(arguments.times + 1 if number == 1 else 2 * arguments.fours):
            words = {"prompt": f"a lighthouse beside {WORDS[count % len(WORDS)]}, number {count}"}
            drawn = request({"name": "", "styles": STYLES, "image_number": number, "disable_preview": False})
            requests[f"{number}-{count}"] = drawn | words | {"image_seed": 1000 * number + count} | arguments.change
    with tempfile.TemporaryDirectory() as folder:
        seconds = alone(arguments, config, requests, Path(folder), gib)
    one = [took for name, took in seconds.items() if name.startswith("1-")][1:]
    four = [took / 4 for name, took in seconds.items() if name.startswith("4-")]
    found = {"cold_s": seconds.get("1-0", 0.0)}
    found |= {"s": round(statistics.median(one), 2), "worst_s": round(max(one), 2)} if one else {}
    found |= {"each_of_4_s": round(min(four), 2)} if four else {}
    show(f"alone, {'all of the card' if gib is None else f'{gib:g} GiB'}", found)
    return found


def card(size: str) -> float | None:
    """GiB of a card; None for all of it."""
    return None if size == "all" else float(size)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="an unmodified checkout")
    parser.add_argument("--python", default=sys.executable, help="what runs it")
    parser.add_argument("--models", type=Path, default=Path(tempfile.gettempdir()) / "checkout-models")
    parser.add_argument("--cases", nargs="*", default=list(CHOSEN), help="names of parity_cases.json")
    parser.add_argument("--plan", choices=FLAGS["MEMORY_PLAN"], default="", help="MEMORY_PLAN, both ways")
    parser.add_argument("--flags", default="", help="more flags of the program by itself: --flags=--always-cpu")
    parser.add_argument("--times", type=int, help="so many warm default requests, by the program alone")
    parser.add_argument("--gib", type=card, nargs="*", default=[None], help="with --times: sizes of cards, or all")
    parser.add_argument("--no-fours", dest="fours", action="store_false", help="with --times: no four pictures at once")
    parser.add_argument("--repeat", type=int, default=1, help="times that each case goes through the service")
    parser.add_argument("--half", choices=("alone", "service"), help="only this way; with --pictures")
    parser.add_argument("--pictures", type=Path, help="folder for what the program alone draws; kept")
    parser.add_argument("--change", type=json.loads, default={}, help="JSON of request members to set in every case")
    parser.add_argument("--tiny", action="store_true", help="256×256 and two steps")
    arguments = parser.parse_args()
    arguments.path, arguments.models = arguments.path.resolve(), arguments.models.resolve()
    arguments.change = (TINY if arguments.tiny else {}) | arguments.change
    if arguments.half and not arguments.pictures:
        parser.error("--half needs --pictures")
    arguments.python = shutil.which(arguments.python) or arguments.python
    config = prepare(arguments.path, arguments.models)
    if arguments.times:
        print(json.dumps({str(gib): times(arguments, config, gib) for gib in arguments.gib}))
    else:
        print(json.dumps(halves(arguments, config)))


if __name__ == "__main__":
    main()
