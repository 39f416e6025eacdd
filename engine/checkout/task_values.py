"""A request's parameters as the values of Fooocus's tasks, each by the name that it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, cycle, repeat
from typing import Any

from engine.checkout import members
from engine.checkout.pictures import GivenPictures
from engine.choices import NO_MODEL, VAE_OF_CHECKPOINT
from engine.modes import chosen_tab
from engine.params import EnhanceStep, GenerateParams

NO_LORA = (False, NO_MODEL, 1.0)
NO_CONTROL_IMAGE: Mapping[str, Any] = {"cn_img": None, "cn_stop": 0.5, "cn_weight": 0.6, "cn_type": "ImagePrompt"}
NO_ENHANCE_STEP = EnhanceStep(
    enhance_enabled=False,
    enhance_mask_dino_prompt="",
    enhance_prompt="",
    enhance_negative_prompt="",
    enhance_mask_model="sam",
    enhance_mask_cloth_category="full",
    enhance_mask_sam_model="vit_b",
    enhance_mask_text_threshold=0.25,
    enhance_mask_box_threshold=0.3,
    enhance_mask_sam_max_detections=0,
    enhance_inpaint_disable_initial_latent=False,
    enhance_inpaint_engine=NO_MODEL,
    enhance_inpaint_strength=1.0,
    enhance_inpaint_respective_field=0.618,
    enhance_inpaint_erode_or_dilate=0,
    enhance_mask_invert=False,
)

FileName = Callable[[str, str], str]
"""What the program calls the model file of a kind that a request calls so."""


def no_strokes(picture: Any) -> Any:
    """What was painted on a picture: nothing."""
    import numpy

    return numpy.zeros_like(picture)


class TaskValues:
    """The values for one task; an argument that is asked for again gives its next row's value.

    `checkpoint` is the program's name of the base model, `file_name` gives those of the other files, and `others` has
    the values of arguments that no request has a member for.
    """

    def __init__(
        self,
        params: GenerateParams,
        pictures: GivenPictures,
        checkpoint: str,
        file_name: FileName,
        others: Mapping[str, Any],
    ) -> None:
        self.params, self.pictures, self.file_name = params, pictures, file_name
        self._single = {**others, **self._members(), **self._pictures(), **self._models(checkpoint)}
        self.loras = [lora for lora in params.loras if lora.enabled and lora.model_name != NO_MODEL]
        self.control = [prompt for prompt in params.controlnet_image if prompt.cn_img]
        self.steps = [step for step in params.enhance_ctrls if step.enhance_enabled]
        self._columns: dict[str, Iterator[Any]] = {
            "loras": self._lora_column(),
            **self._control_columns(),
            **self._enhance_columns(),
        }
        self._asked: dict[str, int] = {}

    def take(self, argument: str) -> Any:
        """The next value of an argument.

        Raises:
            KeyError: nobody has a value for it.
        """
        self._asked[argument] = self._asked.get(argument, 0) + 1
        column = self._columns.get(argument)
        return self._single[argument] if column is None else next(column)

    def left_out(self) -> list[str]:
        """Notes on what the program did not ask for, once it has asked for everything."""
        lists = (
            ("loras", len(self.loras), self._asked.get("loras", 0) // len(NO_LORA), "default_max_lora_number"),
            ("controlnet_image", len(self.control), self._asked.get("cn_img", 0), "default_controlnet_image_count"),
            ("enhance_ctrls", len(self.steps), self._asked.get("enhance_enabled", 0), "default_enhance_tabs"),
        )
        return [
            f"Of {member} the last {given - taken} are left out: this Fooocus takes {taken}, as {key} in its config.txt"
            " says"
            for member, given, taken, key in lists
            if given > taken
        ]

    def _members(self) -> dict[str, Any]:
        """The values that are a request's members as they are."""
        values = self.params.to_dict()
        for argument, member in members.RENAMED.items():
            values[argument] = values[member]
        tab = chosen_tab(self.params)
        return values | {
            "style_selections": list(self.params.style_selections),
            "outpaint_selections": list(self.params.outpaint_selections),
            "output_format": "jpeg" if self.params.output_format == "jpg" else self.params.output_format,
            "current_tab": tab or "uov",
            "input_image_checkbox": bool(tab),
        }

    def _pictures(self) -> dict[str, Any]:
        """The pictures; the one that is inpainted brings what was painted on it, nothing here."""
        names = ("uov_input_image", "inpaint_input_image", "inpaint_mask_image_upload", "enhance_input_image")
        given = {name: getattr(self.params, name) for name in names}
        found = {name: self.pictures.array(reference) if reference else None for name, reference in given.items()}
        painted = found["inpaint_input_image"]
        if painted is not None:
            found["inpaint_input_image"] = {"image": painted, "mask": no_strokes(painted)}
        return found

    def _models(self, checkpoint: str) -> dict[str, str]:
        refiner, vae = self.params.refiner_model_name, self.params.vae_name
        return {
            "base_model_name": checkpoint,
            "refiner_model_name": refiner if refiner == NO_MODEL else self.file_name("checkpoints", refiner),
            "vae_name": vae if vae == VAE_OF_CHECKPOINT else self.file_name("vae", vae),
        }

    def _lora_column(self) -> Iterator[Any]:
        """Three values for each LoRA: whether it is on, its file, its weight."""
        rows = [(True, self.file_name("loras", lora.model_name), lora.weight) for lora in self.loras]
        return chain(chain.from_iterable(rows), cycle(NO_LORA))

    def _control_columns(self) -> dict[str, Iterator[Any]]:
        pictures = [self.pictures.array(str(prompt.cn_img)) for prompt in self.control]
        columns: dict[str, list[Any]] = {
            "cn_img": pictures,
            "cn_stop": [prompt.cn_stop for prompt in self.control],
            "cn_weight": [prompt.cn_weight for prompt in self.control],
            "cn_type": [prompt.cn_type for prompt in self.control],
        }
        return {name: chain(values, repeat(NO_CONTROL_IMAGE[name])) for name, values in columns.items()}

    def _enhance_columns(self) -> dict[str, Iterator[Any]]:
        return {
            argument: chain([getattr(step, name) for step in self.steps], repeat(getattr(NO_ENHANCE_STEP, name)))
            for argument, name in members.ENHANCE_STEP.items()
        }
