import threading

import modules.config


class AsyncTask:
    def __init__(self, args):
        import args_manager

        from modules.config import default_max_lora_number
        from modules.flags import MetadataScheme, Performance, ip_list

        self.args = args.copy()
        self.yields = []
        self.results = []
        self.last_stop = False
        self.processing = False
        if not args:
            return
        args.reverse()
        self.prompt = args.pop()
        self.negative_prompt = args.pop()
        self.translate_prompts = args.pop()
        self.style_selections = args.pop()
        self.performance_selection = Performance(args.pop())
        self.steps = self.performance_selection.steps()
        self.aspect_ratios_selection = args.pop()
        self.image_number = args.pop()
        self.output_format = args.pop()
        self.seed = int(args.pop())
        self.cfg_scale = args.pop()
        self.base_model_name = args.pop()
        self.refiner_model_name = args.pop()
        self.loras = [(bool(args.pop()), str(args.pop()), float(args.pop())) for _ in range(default_max_lora_number)]
        self.input_image_checkbox = args.pop()
        self.current_tab = args.pop()
        self.uov_method = args.pop()
        self.uov_input_image = args.pop()
        self.inpaint_input_image = args.pop()
        self.inpaint_mask_image_upload = args.pop()
        self.disable_preview = args.pop()
        self.disable_intermediate_results = args.pop()
        self.disable_seed_increment = args.pop()
        self.overwrite_step = args.pop()
        self.generate_image_grid = args.pop()
        self.save_final_enhanced_image_only = args.pop() if not args_manager.args.disable_image_log else False
        self.save_metadata_to_images = args.pop() if not args_manager.args.disable_metadata else False
        self.metadata_scheme = MetadataScheme(args.pop())
        self.cn_tasks = {kind: [] for kind in ip_list}
        for _ in range(modules.config.default_controlnet_image_count):
            cn_img = args.pop()
            cn_stop = args.pop()
            cn_weight = args.pop()
            cn_type = args.pop()
            if cn_img is not None:
                self.cn_tasks[cn_type].append([cn_img, cn_stop, cn_weight])
        self.enhance_input_image = args.pop()
        self.enhance_checkbox = args.pop()
        self.enhance_uov_method = args.pop()
        self.enhance_ctrls = []
        for _ in range(modules.config.default_enhance_tabs):
            enhance_enabled = args.pop()
            enhance_mask_dino_prompt_text = args.pop()
            if enhance_enabled:
                self.enhance_ctrls.append([enhance_mask_dino_prompt_text])
        assert not args, f"{len(args)} arguments too many"


async_tasks = []


def worker():
    import hashlib
    import os
    import signal
    import time
    import traceback

    import ldm_patched.modules.model_management as memory
    import numpy as np

    import modules.default_pipeline as pipeline
    import modules.patch
    from modules.private_logger import log

    def say(task, percent, text, picture=None):
        task.yields.append(["preview", (percent, text, picture)])

    def settled(task):
        """Everything that changes a picture."""
        images = [image for kind in task.cn_tasks.values() for image in kind]
        given = [task.uov_input_image, task.enhance_input_image, task.inpaint_mask_image_upload, *images]
        if task.inpaint_input_image:
            given += [task.inpaint_input_image["image"], task.inpaint_input_image["mask"]]
        means = [None if one is None else float(np.mean(one[0] if isinstance(one, list) else one)) for one in given]
        loras = [lora for lora in task.loras if lora[0]]
        tab = task.current_tab if task.input_image_checkbox else ""
        return [task.prompt, task.style_selections, task.cfg_scale, task.base_model_name, loras, tab, means]

    def draw(task, number, seed):
        width, height = (int(side) for side in task.aspect_ratios_selection.split(" ")[0].split("×"))
        steps = task.overwrite_step if task.overwrite_step > 0 else task.steps
        colour = hashlib.sha256(repr([settled(task), seed]).encode()).digest()
        picture = np.zeros((height, width, 3), np.uint8) + np.frombuffer(colour[:3], np.uint8)
        for step in range(steps):
            time.sleep(0.02)
            memory.throw_exception_if_processing_interrupted()
            preview = None if task.disable_preview else picture[::8, ::8]
            said = f"Sampling step {step + 1}/{steps}, image {number + 1}/{task.image_number} ..."
            say(task, 10 + 80 * (step + 1) // steps, said, preview)
        return picture

    def save(task, picture, seed, keep=True):
        rows = [("Prompt", "prompt", task.prompt), ("Seed", "seed", str(seed)), ("Version", "version", "stand-in")]
        scheme = task.metadata_scheme.value if task.save_metadata_to_images else None
        told = {"task_seed": seed, "positive": [task.prompt], "negative": [task.negative_prompt]}
        say(task, 95, "Saving image ...")
        task.results = task.results + [log(picture, rows, scheme, task.output_format, told, keep)]

    def handle(task):
        task.processing = True
        modules.patch.patch_settings[os.getpid()] = task
        if task.prompt == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if task.prompt == "fail":
            raise NotImplementedError("You have selected a model that is not supported")
        if task.prompt == "no memory":
            raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")
        if task.prompt == "end the worker":
            raise SystemExit
        say(task, 1, "Loading models ...")
        if task.enhance_input_image is not None:
            task.results = task.results + [task.enhance_input_image]
        for number in range(task.image_number):
            seed = task.seed if task.disable_seed_increment else task.seed + number
            try:
                picture = draw(task, number, seed)
            except memory.InterruptProcessingException:
                if task.last_stop == "skip":
                    task.last_stop = False
                    continue
                break
            enhanced = task.enhance_checkbox and task.enhance_ctrls
            save(task, picture, seed, not (enhanced and task.save_final_enhanced_image_only))
            for _ in task.enhance_ctrls if task.enhance_checkbox else ():
                save(task, 255 - picture, seed)

    while True:
        time.sleep(0.01)
        if async_tasks:
            task = async_tasks.pop(0)
            try:
                handle(task)
                if task.generate_image_grid and len(task.results) > 1:
                    task.results = task.results + [np.zeros((16, 32, 3), np.uint8)]
                task.yields.append(["finish", task.results])
                pipeline.prepare_text_encoder(async_call=True)
            except SystemExit:
                raise
            except BaseException:
                traceback.print_exc()
                task.yields.append(["finish", task.results])
            finally:
                modules.patch.patch_settings.pop(os.getpid(), None)


threading.Thread(target=worker, daemon=True).start()
