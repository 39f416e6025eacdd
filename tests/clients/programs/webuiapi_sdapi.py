"""Asks by AUTOMATIC1111's routes as `webuiapi` does, and prints what came of it."""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import webuiapi
from PIL import Image

sys.stdout, out = sys.stderr, sys.stdout  # the client prints as it goes
place = urlsplit(os.environ["BASE_URL"])
client = webuiapi.WebUIApi(place.hostname, place.port, username="anna", password=os.environ["KEY"] or None)
found = {"models": client.util_get_model_names(), "samplers": client.util_get_sampler_names()}

client.util_set_model("toy")
found["model"] = client.util_get_current_model()
client.util_wait_for_ready(0.1)

drawn = client.txt2img(prompt="a cat", seed=7, steps=2, width=64, height=64, batch_size=2, sampler_name="Euler a")
found["sizes"] = [picture.size for picture in drawn.images]
found["seeds"], found["infotext"] = drawn.info["all_seeds"], drawn.info["infotexts"][0]
found["png_info"] = client.png_info(drawn.image).info

found["options"] = client.get_options()
client.set_options({"CLIP_stop_at_last_layers": 3})
found["clip_skip"] = client.get_options()["CLIP_stop_at_last_layers"]
client.set_options({"CLIP_stop_at_last_layers": 2})

client.util_set_model("fooocus_mini")
mask = Image.new("L", (96, 96), 0)
mask.paste(255, (0, 0, 48, 96))
picture = Image.new("RGB", (96, 96), "green")
inpainted = client.img2img(images=[picture], mask_image=mask, prompt="a cat", seed=7, steps=1)
found["inpainted"] = inpainted.image.size
found["kept"] = inpainted.image.convert("RGB").getpixel((95, 48))
found["enlarged"] = client.extra_single_image(picture, upscaler_1="Fooocus", upscaling_resize=2).image.size
found["caption"] = client.interrogate(picture).info
client.util_set_model("toy")

with ThreadPoolExecutor(1) as pool:
    long = pool.submit(client.txt2img, prompt="a cat", steps=200, width=64, height=64)
    while not (now := client.get_progress())["state"]["sampling_step"] and not long.done():
        pass
    found["progress"], found["interrupted"] = now, client.interrupt()
    found["left"] = len(long.result().images)
found["skipped"] = client.skip()
found["idle"] = client.get_progress()["state"]["job_count"]
try:
    client.txt2img(prompt="a cat", steps=0)
except RuntimeError as error:
    found["refused"] = error.args[0]
json.dump(found, out)
