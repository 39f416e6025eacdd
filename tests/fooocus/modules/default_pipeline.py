import os

import modules.config

if not any(
    os.path.isfile(os.path.join(place, modules.config.default_base_model_name))
    for place in modules.config.paths_checkpoints
):
    raise FileNotFoundError(modules.config.default_base_model_name)


class Words:
    def __call__(self, text):
        return {"input_ids": ["<", *text.split(), ">"]}


class Part:
    def __init__(self, **parts):
        self.__dict__.update(parts)


class StableDiffusionModel:
    pass


core = Part(StableDiffusionModel=StableDiffusionModel)
model_base = model_refiner = StableDiffusionModel()
final_clip = Part(tokenizer=Part(clip_l=Part(tokenizer=Words())))


def prepare_text_encoder(async_call=True):
    global final_clip
    if final_clip is None:
        final_clip = Part(tokenizer=Part(clip_l=Part(tokenizer=Words())))
