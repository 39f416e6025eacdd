import json
import os
import uuid

import args_manager
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import modules.config


def log(img, metadata, metadata_parser=None, output_format=None, task=None, persist_image=True):
    hidden = args_manager.args.disable_image_log or not persist_image
    place = os.path.join(modules.config.temp_path if hidden else modules.config.path_outputs, "2024-07-05")
    os.makedirs(place, exist_ok=True)
    path = os.path.join(place, f"{uuid.uuid4().hex}.{output_format}")
    info = None
    if metadata_parser is not None:
        info = PngInfo()
        info.add_text("parameters", json.dumps({key: value for _, key, value in metadata}))
        info.add_text("fooocus_scheme", metadata_parser)
    Image.fromarray(img).save(path, **({"pnginfo": info} if output_format == "png" else {}))
    return path
