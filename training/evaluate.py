"""Judge a model by 60 held-out prompts: is the object recognised, is the colour there?

`rates` works on modules in training; run as a program it draws with the engine's own pipeline from a checkpoint file.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.choices import UNET_ARITHMETICS
from engine.gpu.capabilities import Card, DrawingSettings
from training import judge as judging
from training import sampling
from training.plans import PLACE_PROMPTS, PROMPTS
from training.sharpness import sharpness, trained_sharpness
from training.sheets import contact_sheet
from training.showcase import SHOWCASE
from training.words import styles


def negatives() -> list[str]:
    """The default styles' negative texts, as the engine sends them."""
    _, texts, (_, enhance) = styles()
    return [enhance, next(t for t in texts if "soft focus" in t)]


def rates(
    vae, unet, conditioner, judge, names: list[str], prompts: list[dict], side: int, steps: int, sheet: Path
) -> dict:
    """Shares of prompts whose object the judge names and whose colour is seen; writes the contact sheet."""
    device = next(unet.parameters()).device
    texts = [[p["text"]] for p in prompts]
    latents = sampling.sample(unet, conditioner, texts, [negatives()] * len(texts), side, side, steps)
    return scored(sampling.pictures(vae, latents), prompts, judge, names, sheet, device)


def scored(
    pictures: np.ndarray, prompts: list[dict], judge, names: list[str], sheet: Path, device: torch.device
) -> dict:
    """The two rates of drawn pictures uint8 [n,h,w,3]."""
    floats = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device).float() / 255
    guesses = [names[n] for n in judging.named(judge, floats).tolist()]
    seen = [judging.colour_seen(p, q["colour"], q["where"]) for p, q in zip(pictures, prompts, strict=True)]
    right = [g == q["object"] for g, q in zip(guesses, prompts, strict=True)]
    marks = [
        f"{'+' if r else '-' + g}{'+' if s else '-'} {q['text']}"
        for r, s, g, q in zip(right, seen, guesses, prompts, strict=True)
    ]
    contact_sheet(list(pictures), marks, 10, 192, sheet)
    return {"object": float(np.mean(right)), "colour": float(np.mean(seen)), "marks": marks}


def showcase(vae, unet, conditioner, prompts: list[str], size: tuple[int, int], steps: int, sheet: Path) -> None:
    """Ordinary prompts in the default style at the default size."""
    _, _, (template, _) = styles()
    texts = [[template.replace("{prompt}", p)] for p in prompts]
    latents = sampling.sample(unet, conditioner, texts, [negatives()] * len(texts), *size, steps, batch=10)
    contact_sheet(list(sampling.pictures(vae, latents, 4)), prompts, 5, 480, sheet)


def drawn(
    checkpoint: Path,
    prompts: list[str],
    size: tuple[int, int],
    folder: Path,
    device: str,
    settings: DrawingSettings | None = None,
    **wish: object,
) -> np.ndarray:
    """The engine's pictures of the prompts, uint8 [n,h,w,3]: requests of this width and height, seed n, and `wish`."""
    from engine.pipeline.pipeline import Pipeline

    settings = settings or DrawingSettings()
    if unmet := settings.unmet(settings.precision(Card.of(torch.device(device)))):
        raise SystemExit(" ".join(unmet))
    pipeline, found = Pipeline(device, builtin=checkpoint, settings=settings), []
    for n, prompt in enumerate(prompts):
        found.append(answered(pipeline, folder, f"{n:02}", {"prompt": prompt, "image_seed": n, **wish}, size))
    return np.stack(found)


def answered(pipeline: Any, folder: Path, name: str, wish: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """The picture that a request with this wish and else defaults gives; its input pictures are in the folder."""
    from PIL import Image

    from engine.messages import Draw
    from engine.params import GenerateParams
    from schemas.generate import DEFAULTS, GenerateSchema

    path = folder / f"{name}.png"
    request = {"image_number": 1, "loras": [], "aspect_ratios_selection": f"{size[0]}×{size[1]}", **wish}
    params = GenerateParams.from_dict({**DEFAULTS, **GenerateSchema().load(request)})
    ended = pipeline.draw(Draw(name, params.to_dict(), [str(path)], inputs=str(folder)), lambda message: None)
    if not path.exists():
        raise SystemExit(f"the engine drew nothing for {wish!r}: {ended}")
    return np.asarray(Image.open(path).convert("RGB"))


def places_named(pictures: np.ndarray, prompts: list[dict], judge: Any, names: list[str], sheet: Path) -> float:
    """The share of drawn pictures uint8 [n,h,w,3] whose place the judge of places names; writes the contact sheet."""
    device = next(judge.parameters()).device
    floats = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device).float() / 255
    guesses = [names[n] for n in judging.named(judge, floats).tolist()]
    right = [guess == prompt["place"] for guess, prompt in zip(guesses, prompts, strict=True)]
    marks = [f"{'+' if r else '-' + g} {p['text']}" for r, g, p in zip(right, guesses, prompts, strict=True)]
    contact_sheet(list(pictures), marks, 10, 240, sheet)
    print("\n".join(marks))
    return float(np.mean(right))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--judge", type=Path, help="the classifier of objects, or of places with --places")
    parser.add_argument("--places", action="store_true", help="judge 80 pictures of things in places")
    parser.add_argument("--performance", default="Speed", help="the performance mode that draws what is judged")
    parser.add_argument("--unet-arithmetic", choices=UNET_ARITHMETICS, default="", help="of linear layers, as served")
    parser.add_argument("--showcase", type=Path, help="instead of judging, draw the README's sheet into this file")
    parser.add_argument("--inputs", type=Path, help="instead of judging, draw the row of input pictures into this file")
    parser.add_argument("--bundle", type=Path, help="compare the sharpness with training pictures of this bundle")
    parser.add_argument("--size", default="512x512", help="width and height of the pictures that are judged")
    parser.add_argument("--most", type=int, default=80, help="only so many prompts, evenly chosen")
    parser.add_argument("--out", type=Path, default=Path("training/made/evaluation"))
    options = parser.parse_args()
    if not (options.judge or options.showcase or options.inputs):
        parser.error("name a --judge, or a --showcase or --inputs to draw instead of judging")
    return options


def main() -> None:
    """Print the rates of a checkpoint and write its contact sheet."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    folder, device = options.out.resolve(), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.showcase:
        pictures = drawn(options.checkpoint, SHOWCASE, (1152, 896), folder, str(device))
        contact_sheet(list(pictures), SHOWCASE, 5, 320, options.showcase)
    if options.inputs:
        from training.input_row import input_row

        input_row(options.checkpoint, folder, str(device), options.inputs)
    if not options.judge:
        return
    prompts = json.loads((PLACE_PROMPTS if options.places else PROMPTS).read_text())
    prompts = prompts[:: max(1, len(prompts) // options.most)][: options.most]
    width, height = map(int, options.size.split("x"))
    judge, names = judging.load_judge(options.judge, device)
    texts, mode = [prompt["text"] for prompt in prompts], options.performance
    settings = DrawingSettings(unet_arithmetic=options.unet_arithmetic)
    wish = {"performance_selection": mode}
    pictures = drawn(options.checkpoint, texts, (width, height), folder, str(device), settings, **wish)
    sheet = options.out / "sheet.jpg"
    if options.places:
        rate = places_named(pictures, prompts, judge, names, sheet)
        print(f"{mode} {options.size}: place {100 * rate:.1f} %  of {len(prompts)} prompts")
    else:
        result = scored(pictures, prompts, judge, names, sheet, device)
        print("\n".join(result["marks"]))
        shares = " ".join(f"{what} {100 * result[what]:.1f} %" for what in ("object", "colour"))
        print(f"{mode} {options.size}: {shares}  of {len(prompts)} prompts")
    if options.bundle:
        own = float(sharpness(pictures).mean())
        theirs = trained_sharpness(
            options.bundle, (width, height), len(prompts), device, 1.0 if options.places else 0.0
        )
        print(f"sharpness {own:.5f}, training pictures {theirs:.5f}: {100 * own / theirs:.1f} %")


if __name__ == "__main__":
    main()
