"""The history as the predecessor tells it: what its database kept, and beside that what it told without one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Protocol

from blueprints.legacy.job_objects import job_id, job_type, url
from blueprints.legacy.translation import RENAMED, SIDES, steps_of
from engine import choices
from fooocus_flask.tables import FAILED, STOPPED, Task
from fooocus_flask.tasks import records
from schemas.other_apis.legacy import AdvancedParamsSchema

ADVANCED = tuple(AdvancedParamsSchema().fields)
SAME = (
    *("prompt", "negative_prompt", "style_selections", "performance_selection", "base_model_name"),
    *("refiner_model_name", "refiner_switch", "image_number", "image_seed", "sharpness", "guidance_scale"),
    *("inpaint_additional_prompt", "outpaint_selections", "uov_method", "webhook_url", "require_base64"),
    "async_process",
)
"""Members of params that are the same here and there."""


class Moments(Protocol):
    """A task's id and moments."""

    task_id: str
    in_queue_mills: int
    start_mills: int | None
    finish_mills: int | None


def moments(task: Moments) -> dict[str, Any]:
    """When a job came, began and ended; 0 for what is still to come."""
    return {
        "job_id": job_id(task.task_id),
        "in_queue_mills": task.in_queue_mills,
        "start_mills": task.start_mills or 0,
        "finish_mills": task.finish_mills or 0,
        "is_finished": task.finish_mills is not None,
    }


def item(task: Task, base: str) -> dict[str, Any]:
    """An ended job."""
    return moments(task) | {"params": params(task, base), "task_info": task_info(task, base)}


def params(task: Task, base: str) -> dict[str, Any]:
    """What was asked for, in the predecessor's members."""
    ours = records.parameters(task, base)
    told = {name: ours.get(name) for name in SAME}
    told |= {old: ours.get(new) for old, new in RENAMED.items()}
    distance = dict(zip(SIDES, ours.get("outpaint_distance") or [0] * len(SIDES), strict=True))
    named = [lora for lora in ours.get("loras", ()) if lora["model_name"] != choices.NO_MODEL]
    prompts = [part for part in ours.get("controlnet_image", ()) if part["cn_img"]]
    return told | {
        "aspect_ratios_selection": ours["aspect_ratios_selection"].replace("×", "*"),
        "loras": [[lora["enabled"], lora["model_name"], lora["weight"]] for lora in named],
        "advanced_params": advanced_params(ours),
        "input_image": ours.get("uov_input_image") or ours.get("inpaint_input_image"),
        "image_prompts": [[part["cn_stop"], part["cn_weight"], part["cn_type"]] for part in prompts],
        **{f"outpaint_distance_{side}": pixels for side, pixels in distance.items()},
    }


def advanced_params(ours: Mapping[str, Any]) -> dict[str, Any]:
    """How the sampler worked; the refiner's turn as a part of the steps."""
    step = ours["overwrite_switch"]
    told = {name: ours[name] for name in ADVANCED if name in ours}
    return told | {"overwrite_switch": min(1.0, step / steps_of(ours)) if step > 0 else -1}


def task_info(task: Task, base: str) -> dict[str, Any]:
    """What became of it."""
    reasons = {FAILED: "ERROR", STOPPED: "SUCCESS" if task.result else "USER_CANCEL"}
    ended = dt.datetime.fromtimestamp((task.finish_mills or task.in_queue_mills) / 1000)
    return {
        "task_id": job_id(task.task_id),
        "task_type": job_type(task),
        "task_in_queue_mills": task.in_queue_mills,
        "task_start_mills": task.start_mills or 0,
        "task_finish_mills": task.finish_mills or 0,
        "result_url": ",".join(url(path, base) for path in task.result or ()),
        "finish_reason": reasons.get(task.task_status, "SUCCESS"),
        "date_time": f"{ended:%Y-%m-%d %H:%M:%S}",
    }
