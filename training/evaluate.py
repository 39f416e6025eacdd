"""Judge a model by 60 held-out prompts: is the object recognised, is the colour there?

`rates` works on modules in training; run as a program it draws with the engine's own pipeline from a checkpoint file.
"""

from pathlib import Path

import numpy as np
import torch

from training import judge as judging
from training import sampling
from training.sheets import contact_sheet
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
