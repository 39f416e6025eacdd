"""Asks by Fooocus-API-python-client, which was generated from the predecessor's document; prints the answers."""

import hashlib
import json
import os
import sys
import time

import fooocusapi_client as package
from fooocusapi_client.models import UpscaleOrVaryMethod
from PIL import Image

MODEL = os.environ["MODEL"]
SMALL = {"prompt": "a cat", "style_selections": [], "image_seed": 7, "aspect_ratios_selection": "64*64"}
STEPS = {"overwrite_step": 2}

client = package.ApiClient(package.Configuration(host=os.environ["BASE_URL"]))
client.set_default_header("X-API-KEY", os.environ["KEY"])
api = package.DefaultApi(client)


def plain(answer):
    """The answer's JSON."""
    return json.loads(answer.data)


def request(**members):
    """A small request, as the package has it."""
    return package.Text2ImgRequest.from_dict({**SMALL, "base_model_name": MODEL, "advanced_params": STEPS, **members})


def text_to_image(**members):
    """The answer to a request for a picture from a text."""
    ask = api.text2img_generation_v1_generation_text_to_image_post_without_preload_content
    return plain(ask(request(**members)))


def picture(url):
    """The hash of a picture's bytes."""
    return hashlib.sha256(client.rest_client.request("GET", url).read()).hexdigest()


def followed(job_id):
    """The job at its end, read by the package's own shapes, and the stages it went through."""
    stages = []
    while not stages or stages[-1] in ("WAITING", "RUNNING"):
        job = package.AsyncJobResponse.from_dict(
            plain(api.query_job_v1_generation_query_job_get_without_preload_content(job_id, require_step_preview=True))
        )
        stages.append(job.job_stage.value)
        time.sleep(0.05)
    return job, stages


def file():
    """The name of a picture's file."""
    Image.new("RGB", (64, 64), "red").save("red.png")
    return "red.png"


made = text_to_image()
started = text_to_image(async_process=True, require_base64=True)
job, stages = followed(started["job_id"])
form = plain(
    api.img_upscale_or_vary_v1_generation_image_upscale_vary_post_without_preload_content(
        file(), UpscaleOrVaryMethod.VARY_LEFT_PARENTHESIS_SUBTLE_RIGHT_PARENTHESIS, **SMALL, base_model_name=MODEL
    )
)
queue = api.job_queue_v1_generation_job_queue_get_without_preload_content()
history = package.JobHistoryResponse.from_dict(
    plain(api.get_history_v1_generation_job_history_get_without_preload_content(page=0, page_size=5))
)
described = api.describe_image_v1_tools_describe_image_post_without_preload_content(
    image=file(), type=package.DescribeImageType.PHOTO
)
json.dump(
    {
        "picture": picture(made[0]["url"]),
        "made": made,
        "started": started,
        "stages": stages,
        "job": [job.job_id, job.job_type.value, job.job_stage.value, job.job_progress],
        "form": form,
        "queue": plain(queue),
        "history": [entry.job_id for entry in history.history],
        "described": plain(described),
        "models": api.all_models_v1_engines_all_models_get().model_filenames,
        "refreshed": api.refresh_models_v1_engines_refresh_models_post().model_filenames,
        "styles": len(api.all_styles_v1_engines_styles_get()),
        "stop": api.stop_v1_generation_stop_post().msg,
        "ping": api.ping_ping_get(),
    },
    sys.stdout,
)
