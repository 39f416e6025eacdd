"""What other programs call the members of our shapes, by which a client is told the right name."""

from __future__ import annotations

from collections.abc import Mapping


def spread(names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The member that each of its other names means."""
    return {other: member for member, others in names.items() for other in others}


GENERATE = spread(
    {
        "prompt": ("text", "positive_prompt", "positive"),
        "negative_prompt": ("negative", "uc"),
        "style_selections": ("styles", "style", "style_preset"),
        "aspect_ratios_selection": ("size", "aspect_ratio", "resolution"),
        "image_number": ("n", "batch_size", "batch_count", "n_iter", "num_images", "num_outputs"),
        "image_seed": ("seed",),
        "overwrite_step": ("steps", "num_inference_steps", "num_steps"),
        "overwrite_width": ("width",),
        "overwrite_height": ("height",),
        "guidance_scale": ("cfg", "cfg_scale", "guidance"),
        "sampler_name": ("sampler", "sampler_index"),
        "scheduler_name": ("scheduler",),
        "base_model_name": ("model", "checkpoint", "ckpt", "model_name", "base_model"),
        "refiner_model_name": ("refiner",),
        "vae_name": ("vae",),
        "uov_input_image": ("image", "input_image", "init_image", "init_images"),
        "inpaint_mask_image_upload": ("mask", "mask_image", "input_mask"),
        "controlnet_image": ("image_prompts", "controlnet", "control_image"),
        "webhook_url": ("webhook", "callback_url", "hook_url"),
        "async_process": ("async",),
        "stream_output": ("stream",),
        "output_format": ("format",),
    }
)
LORA = spread(
    {
        "model_name": ("name", "lora", "lora_name", "file", "filename", "path", "model"),
        "weight": ("strength", "scale", "multiplier", "model_weight"),
        "enabled": ("on", "active"),
    }
)
CONTROL_IMAGE = spread(
    {
        "cn_img": ("image", "input_image", "img", "url"),
        "cn_type": ("type", "module", "model"),
        "cn_weight": ("weight", "strength"),
        "cn_stop": ("stop", "stop_at", "guidance_end"),
    }
)
PICTURE = spread({"image": ("picture", "img", "input_image", "image_url", "url", "file", "base64")})
TEXT = spread({"prompt": ("text", "input", "query", "caption")})
CONTROL = spread({"task_id": ("id", "job_id"), "action": ("command",)})
TASKS = spread(
    {
        "page_size": ("limit", "per_page", "count", "size", "max", "n", "page_limit"),
        "page": ("offset", "skip", "page_number"),
        "after": ("cursor", "starting_after", "next"),
        "start_at": ("from", "since", "start"),
        "end_at": ("to", "until", "before", "end"),
        "status": ("state", "task_status"),
        "prompt": ("search", "q", "text"),
    }
)
