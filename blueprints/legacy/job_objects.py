"""Tasks as the predecessor tells them: job objects, the pictures they gave, and the webhook's body."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from uuid import UUID

from engine.images import codecs
from engine.params import MAX_SEED
from fooocus_flask.following import webhooks
from fooocus_flask.pictures import outputs, urls
from fooocus_flask.pictures.inputs import in_thread
from fooocus_flask.tables import FAILED, FINISHED, PENDING, RUNNING, STOPPED, Task
from fooocus_flask.tasks import live, queue

NAME = "legacy"
"""What a task's row calls this API."""
TEXT, UPSCALE, INPAINT = "Text to Image", "Image Upscale or Variation", "Image Inpaint or Outpaint"
PROMPT, ENHANCE = "Image Prompt", "Image Enhancement"
STAGES = {PENDING: "WAITING", RUNNING: "RUNNING", FINISHED: "SUCCESS", STOPPED: "SUCCESS", FAILED: "ERROR"}
NOT_FOUND = {
    "job_id": "",
    "job_type": "Not Found",
    "job_stage": "ERROR",
    "job_progress": 0,
    "job_status": "Job not found",
    "job_step_preview": None,
    "job_result": None,
}
"""The answer about a job that there is not."""


def kept(job_type: str, *, require_base64: bool) -> dict[str, Any]:
    """What a task's row keeps of the request it came by."""
    return {"name": NAME, "job_type": job_type, "require_base64": require_base64, "files_by_id": True}


def job_id(task_id: str) -> str:
    """The task's id as a UUID with dashes; one that is none stays as it is."""
    try:
        return str(UUID(hex=task_id))
    except ValueError:
        return task_id


def find(sent: str) -> Task:
    """The task of this job id, with dashes or without.

    Raises:
        TaskNotFound: there is none.
    """
    try:
        return queue.find(UUID(hex=sent).hex)
    except ValueError:
        return queue.find(sent)


def job_type(task: Task) -> str:
    """What the job does: by its route, or where it came by another API, by its pictures."""
    if task.api and task.api.get("name") == NAME:
        return str(task.api["job_type"])
    params = task.req_params
    if params.get("enhance_input_image"):
        return ENHANCE
    if any(part["cn_img"] for part in params.get("controlnet_image", ())):
        return PROMPT
    if params.get("uov_input_image"):
        return UPSCALE
    return INPAINT if params.get("inpaint_input_image") else TEXT


def job(task: Task, base: str, *, preview: bool = False) -> dict[str, Any]:
    """The job as it is now."""
    now = live.progress_of(task.task_id)
    running = task.task_status == RUNNING
    return {
        "job_id": job_id(task.task_id),
        "job_type": job_type(task),
        "job_stage": STAGES[task.task_status],
        "job_progress": now.percent if running else round(task.progress or 0),
        "job_status": (now.message or None) if running else status(task),
        "job_step_preview": (now.preview or None) if running and preview else None,
        "job_result": pictures(task, base) if STAGES[task.task_status] == "SUCCESS" else None,
    }


def full(job_type: str) -> dict[str, Any]:
    """The job that the queue had no room for."""
    told = {"job_type": job_type, "job_status": None, "job_result": [no_picture("QUEUE_IS_FULL")]}
    return NOT_FOUND | told


def status(task: Task) -> str | None:
    """How a job that does not run is described: that it ended, or why it failed."""
    if task.task_status == PENDING:
        return None
    return task.error if task.task_status == FAILED else "Finished"


def pictures(task: Task, base: str) -> list[dict[str, Any]]:
    """The pictures of an ended task; where there is none, one element that says why."""
    if not task.result:
        return [no_picture("ERROR" if task.task_status == FAILED else "USER_CANCEL", task.seed)]
    wanted = bool((task.api or {}).get("require_base64"))
    data = in_thread(data_urls, outputs.fetched(task.result)) if wanted else [None] * len(task.result)
    return [
        {"base64": data[number], "url": url(path, base), "seed": seed(task, number), "finish_reason": "SUCCESS"}
        for number, path in enumerate(task.result)
    ]


def no_picture(reason: str, seed: str = "") -> dict[str, Any]:
    """What stands in the place of pictures."""
    return {"base64": None, "url": None, "seed": seed, "finish_reason": reason}


def url(path: str, base: str) -> str:
    """The URL of a picture below the outputs folder, under the predecessor's address for it."""
    return urls.absolute(f"/files/{path}", base)


def seed(task: Task, number: int) -> str:
    """A picture's seed, as a text."""
    step = 0 if task.req_params["disable_seed_increment"] else number
    return str((task.req_params["image_seed"] + step) % (MAX_SEED + 1))


def data_urls(paths: list[Path]) -> list[str | None]:
    """The files as data URLs; None for one that is gone."""
    found: list[str | None] = []
    for path in paths:
        try:
            text = base64.b64encode(path.read_bytes()).decode()
        except FileNotFoundError:
            found.append(None)
            continue
        found.append(f"data:{codecs.MEDIA_TYPES[path.suffix[1:]]};base64,{text}")
    return found


@webhooks.body_for(NAME)
def webhook(task: Task) -> dict[str, Any]:
    """What the receiver of a job's webhook is sent."""
    made = [
        {"url": url(path, task.base_url), "seed": seed(task, number)} for number, path in enumerate(task.result or ())
    ]
    return {"job_id": job_id(task.task_id), "job_result": made}
