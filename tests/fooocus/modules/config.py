import json
import os

import args_manager

config_path = os.environ.get("config_path", "config.txt")
settings = {}
if os.path.exists(config_path):
    with open(config_path, encoding="utf-8") as file:
        settings = json.load(file)


def folder(key, usual):
    return settings.get(key, os.path.abspath(usual))


def folders(key, usual):
    found = folder(key, usual)
    return [found] if isinstance(found, str) else found


paths_checkpoints = folders("path_checkpoints", "models/checkpoints")
paths_loras = folders("path_loras", "models/loras")
path_vae = folder("path_vae", "models/vae")
path_inpaint = folder("path_inpaint", "models/inpaint")
path_clip_vision = folder("path_clip_vision", "models/clip_vision")
temp_path = args_manager.args.temp_path
path_outputs = os.path.abspath("outputs")
default_model = default_base_model_name = "not-there.safetensors"
default_refiner_model_name = "None"
default_loras = [("not-there.safetensors", 1.0)]
default_vae = "Default (model)"
default_max_lora_number = settings.get("default_max_lora_number", 5)
default_controlnet_image_count = settings.get("default_controlnet_image_count", 4)
default_enhance_tabs = settings.get("default_enhance_tabs", 3)
model_filenames, lora_filenames, vae_filenames = [], [], []


def below(places):
    found = [
        os.path.relpath(os.path.join(place, name), top)
        for top in places
        for place, _, names in os.walk(top)
        for name in names
    ]
    return sorted(name for name in found if name.endswith(".safetensors"))


def update_files():
    global model_filenames, lora_filenames, vae_filenames
    model_filenames, lora_filenames, vae_filenames = below(paths_checkpoints), below(paths_loras), below([path_vae])
