"""Judge a model by 60 held-out prompts: is the object recognised, is the colour there?

`rates` works on modules in training; run as a program it draws with the engine's own pipeline from a checkpoint file.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from training import judge as judging
from training import sampling
from training.plans import PROMPTS
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


def drawn(checkpoint: Path, prompts: list[str], size: tuple[int, int], folder: Path, device: str) -> np.ndarray:
    """The engine's pictures of the prompts, uint8 [n,h,w,3]: a request's defaults in this width and height, seed n."""
    from PIL import Image

    from engine.messages import Draw
    from engine.params import GenerateParams
    from engine.pipeline.pipeline import Pipeline
    from schemas.generate import DEFAULTS, GenerateSchema

    pipeline, found = Pipeline(device, builtin=checkpoint), []
    for n, prompt in enumerate(prompts):
        path = folder / f"{n:02}.png"
        request = {
            "prompt": prompt,
            "image_seed": n,
            "image_number": 1,
            "loras": [],
            "aspect_ratios_selection": f"{size[0]}×{size[1]}",
        }
        params = GenerateParams.from_dict({**DEFAULTS, **GenerateSchema().load(request)})
        ended = pipeline.draw(Draw(str(n), params.to_dict(), [str(path)]), lambda message: None)
        if not path.exists():
            raise SystemExit(f"the engine drew nothing for {prompt!r}: {ended}")
        found.append(np.asarray(Image.open(path).convert("RGB")))
    return np.stack(found)


def main() -> None:
    """Print both rates of a checkpoint and write its contact sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--judge", type=Path, help="the classifier of the first run")
    parser.add_argument("--showcase", type=Path, help="instead of judging, draw the README's sheet into this file")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--most", type=int, default=60, help="only so many prompts, evenly chosen")
    parser.add_argument("--out", type=Path, default=Path("training/made/evaluation"))
    options = parser.parse_args()
    if not (options.judge or options.showcase):
        parser.error("name a --judge, or a --showcase to draw instead of judging")
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.showcase:
        pictures = drawn(options.checkpoint, SHOWCASE, (1152, 896), options.out.resolve(), str(device))
        contact_sheet(list(pictures), SHOWCASE, 5, 320, options.showcase)
        return
    prompts = json.loads(PROMPTS.read_text())
    prompts = prompts[:: max(1, len(prompts) // options.most)][: options.most]
    judge, names = judging.load_judge(options.judge, device)
    texts = [prompt["text"] for prompt in prompts]
    pictures = drawn(options.checkpoint, texts, (options.side, options.side), options.out.resolve(), str(device))
    result = scored(pictures, prompts, judge, names, options.out / "sheet.png", device)
    print("\n".join(result["marks"]))
    print(f"object {100 * result['object']:.1f} %  colour {100 * result['colour']:.1f} %  of {len(prompts)} prompts")


if __name__ == "__main__":
    main()
