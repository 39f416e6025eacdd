"""A task as AUTOMATIC1111's clients read it: pictures in base64, and what is known of them as JSON in a text."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Response

from engine.choices import PERFORMANCES
from engine.images import a1111, metadata_reading
from engine.images.metadata import VERSION, stem
from engine.params import MAX_SEED, GenerateParams
from fooocus_flask.following import responses, waiters
from fooocus_flask.pictures import outputs
from fooocus_flask.pictures.inputs import in_thread
from fooocus_flask.submission.submit import Submission
from fooocus_flask.tables import FAILED, Task

MOMENT = "%Y%m%d%H%M%S"
PICTURES = frozenset({"init_images", "mask", "image"})
"""Members that the answer does not tell back."""

Members = Mapping[str, Any]


@dataclass(frozen=True)
class EndedTask:
    """What an answer tells of a task; plain values, for threads know no database."""

    task_id: str
    params: GenerateParams
    notes: tuple[str, ...]
    began: str

    @classmethod
    def of(cls, task: Task) -> EndedTask:
        """What the row has of it."""
        return cls(task.task_id, task.params, tuple(task.notes), timestamp(task))


Body = Callable[[EndedTask, Sequence[bytes]], dict[str, Any]]
"""Makes an answer of a task and its pictures."""


def drawn(submission: Submission, sent: Members) -> Response:
    """The answer of txt2img and img2img, once the task has ended."""
    parameters = {
        name: value for name, value in sent.items() if name not in PICTURES or sent.get("include_init_images")
    }
    send = sent.get("send_images", True)

    def body(task: EndedTask, pictures: Sequence[bytes]) -> dict[str, Any]:
        texts = [infotext(task.params, data, index) for index, data in enumerate(pictures)]
        images = [base64.b64encode(data).decode() for data in pictures] if send else []
        return {"images": images, "parameters": parameters, "info": json.dumps(info(task, texts, sent))}

    return ended(submission, body)


def enlarged(submission: Submission) -> Response:
    """The answer of extra-single-image, once the task has ended."""

    def body(task: EndedTask, pictures: Sequence[bytes]) -> dict[str, Any]:
        image = base64.b64encode(pictures[0]).decode() if pictures else ""
        return {"image": image, "html_info": "; ".join(task.notes)}

    return ended(submission, body)


def ended(submission: Submission, body: Body) -> Response:
    """What `body` makes of the task and its pictures, once it has ended; that of a task that failed says why."""
    task = waiters.wait(submission.task.task_id)
    if task.task_status == FAILED:
        response = responses.failure(task, {})
    else:
        paths = outputs.fetched(task.result or ())
        response = Response(in_thread(written, EndedTask.of(task), paths, body), mimetype="application/json")
    return responses.identify(response, submission)


def written(task: EndedTask, paths: Sequence[Path], body: Body) -> bytes:
    """The answer's bytes; takes its time."""
    made = body(task, [path.read_bytes() for path in paths])
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"), default=str).encode()


def infotext(params: GenerateParams, picture: bytes, index: int) -> str:
    """The text in a picture's file; where it carries none, the same of what was asked for."""
    found = metadata_reading.parameter_text(metadata_reading.texts_of(picture))
    if found:
        return found
    seed = params.image_seed + (0 if params.disable_seed_increment else index)
    values = {
        "Steps": steps_of(params),
        "Sampler": a1111.sampler_label(params.sampler_name, params.scheduler_name),
        "Schedule type": a1111.schedule_label(params.sampler_name, params.scheduler_name),
        "Seed": seed % (MAX_SEED + 1),
        "Size": "{}x{}".format(*params.size),
        "CFG scale": params.guidance_scale,
        "Model": stem(params.base_model_name),
        "Clip skip": params.clip_skip,
        "Version": VERSION,
    }
    return a1111.text(values, params.prompt.splitlines(), params.negative_prompt.splitlines())


def info(task: EndedTask, texts: Sequence[str], sent: Members) -> dict[str, Any]:
    """What is known of the pictures: of all of them as the first one's text tells, and each one's seed and text."""
    params = task.params
    pairs = [a1111.parsed(text)[2] for text in texts]
    first = pairs[0] if pairs else {}
    seeds = [int(found["Seed"]) for found in pairs if found.get("Seed", "").isdecimal()]
    width, _, height = first.get("Size", "{}x{}".format(*params.size)).partition("x")
    count = len(texts)
    return {
        "prompt": params.prompt,
        "all_prompts": [params.prompt] * count,
        "negative_prompt": params.negative_prompt,
        "all_negative_prompts": [params.negative_prompt] * count,
        "seed": params.image_seed,
        "all_seeds": seeds,
        "subseed": -1,
        "all_subseeds": [-1] * count,
        "subseed_strength": 0,
        "width": int(width),
        "height": int(height),
        "sampler_name": sampler_of(first, params),
        "cfg_scale": float(first.get("CFG scale", params.guidance_scale)),
        "steps": int(first.get("Steps", steps_of(params))),
        "batch_size": count,
        "sd_model_name": first.get("Model") or stem(params.base_model_name),
        "sd_model_hash": first.get("Model hash"),
        "sd_vae_name": first.get("VAE"),
        "denoising_strength": sent.get("denoising_strength"),
        "clip_skip": params.clip_skip,
        "styles": list(params.style_selections),
        "index_of_first_image": 0,
        "infotexts": list(texts),
        "job_timestamp": task.began,
        "extra_generation_params": {},
        "version": VERSION,
        "task_id": task.task_id,
        "notes": list(task.notes),
    }


def steps_of(params: GenerateParams) -> int:
    """How many steps were asked for."""
    return params.overwrite_step if params.overwrite_step > 0 else PERFORMANCES[params.performance_selection].steps


def sampler_of(pairs: Mapping[str, str], params: GenerateParams) -> str:
    """The label of the sampler that drew."""
    read, _ = a1111.sampling(pairs.get("Sampler", ""), "", prefer_gpu=True)
    sampler = read or params.sampler_name
    return a1111.SAMPLER_LABELS.get(sampler, sampler)


def timestamp(task: Task) -> str:
    """When drawing began, in local time; empty where it did not."""
    return "" if task.start_mills is None else dt.datetime.fromtimestamp(task.start_mills / 1000).strftime(MOMENT)
