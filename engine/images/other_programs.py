"""The parameters that other programs write into their pictures, under Fooocus's keys as far as they have one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from engine.images import a1111

NAMES = {
    "comfyui": "ComfyUI",
    "invokeai": "InvokeAI",
    "swarmui": "SwarmUI",
    "novelai": "NovelAI",
    "ruinedfooocus": "RuinedFooocus",
}
"""The programs that are known, by the name of their scheme."""
LEFT_OUT = "left_out"
"""The key under which the names of all that has no counterpart are listed."""

INVOKE_SAMPLERS = {
    "euler_a": "euler_ancestral",
    "kdpm_2": "dpm_2",
    "kdpm_2_a": "dpm_2_ancestral",
    "unipc": "uni_pc",
}
KARRAS_MARK = "_k"
"""How InvokeAI ends the names of samplers that use Karras's schedule."""

SWARM_KEYS = {
    "prompt": "prompt",
    "negativeprompt": "negative_prompt",
    "seed": "seed",
    "steps": "steps",
    "cfgscale": "guidance_scale",
    "model": "base_model",
    "vae": "vae",
}
INVOKE_KEYS = {
    "positive_prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "prompt": "prompt",
    "seed": "seed",
    "steps": "steps",
    "cfg_scale": "guidance_scale",
}
NOVEL_KEYS = {
    "prompt": "prompt",
    "uc": "negative_prompt",
    "seed": "seed",
    "steps": "steps",
    "scale": "guidance_scale",
}
RUINED_KEYS = {
    "Prompt": "prompt",
    "Negative": "negative_prompt",
    "seed": "seed",
    "steps": "steps",
    "cfg": "guidance_scale",
    "base_model_name": "base_model",
    "clip_skip": "clip_skip",
}


def read(texts: Mapping[str, str]) -> dict[str, Any] | None:
    """The parameters among a picture's texts, by name, if one of these programs wrote them; else None.

    `metadata_scheme` names the program, `left_out` all that is not taken over.
    """
    for text in texts.values():
        values = json_object(text)
        if values is None:
            continue
        if isinstance(swarm := values.get("sui_image_params"), dict):
            return _swarm(swarm)
        if values.get("software") == "RuinedFooocus":
            return _ruined(values)
    novel = json_object(texts.get("Comment", ""))
    if novel is not None and texts.get("Software", "").startswith("NovelAI"):
        return _novel(novel, texts)
    for chunk in ("invokeai_metadata", "sd-metadata"):
        if (invoke := json_object(texts.get(chunk, ""))) is not None:
            return _invoke(invoke)
    graph = json_object(texts.get("prompt", ""))
    return None if graph is None else _comfy(graph)


def json_object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is; None if it is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


class _Taking:
    """Takes a program's values over one by one, so that what nobody took can be named."""

    def __init__(self, scheme: str, values: Mapping[str, Any]) -> None:
        self.values = values
        self.rest = {name: value for name, value in values.items() if value not in (None, "", [], {}, False)}
        self.found: dict[str, Any] = {"metadata_scheme": scheme, "styles": "[]"}

    def take(self, name: str) -> Any:
        self.rest.pop(name, None)
        return self.values.get(name)

    def rename(self, keys: Mapping[str, str]) -> None:
        for name, key in keys.items():
            value = self.take(name)
            if value is not None and key not in self.found:
                self.found[key] = value

    def size(self, width: str = "width", height: str = "height") -> None:
        sides = self.take(width), self.take(height)
        if None not in sides:
            self.found["resolution"] = f"({sides[0]}, {sides[1]})"

    def sampling(self, sampler: Any, schedule: Any = None) -> None:
        names = a1111.sampling(_text(sampler), _text(schedule), prefer_gpu=False)
        self.found |= {key: name for key, name in zip(("sampler", "scheduler"), names, strict=True) if name is not None}

    def loras(self, loras: Iterator[tuple[Any, Any]]) -> None:
        self.found |= {
            f"lora_combined_{number}": f"{name} : {weight}" for number, (name, weight) in enumerate(loras, 1)
        }

    def result(self) -> dict[str, Any]:
        return self.found | ({LEFT_OUT: list(self.rest)} if self.rest else {})


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _swarm(values: Mapping[str, Any]) -> dict[str, Any]:
    taking = _Taking("swarmui", values)
    taking.rename(SWARM_KEYS)
    taking.size()
    taking.sampling(taking.take("sampler"), taking.take("scheduler"))
    names, weights = _list(taking.take("loras")), _list(taking.take("loraweights"))
    taking.loras((name, weights[index] if index < len(weights) else 1) for index, name in enumerate(names))
    taking.rest.pop("swarm_version", None)
    return taking.result()


def _ruined(values: Mapping[str, Any]) -> dict[str, Any]:
    taking = _Taking("ruinedfooocus", values)
    taking.rename(RUINED_KEYS)
    taking.size()
    taking.sampling(taking.take("sampler_name"), taking.take("scheduler"))
    entries = (entry[-1] for entry in _list(taking.take("loras")) if isinstance(entry, list) and entry)
    parted = (_text(entry).partition(" - ") for entry in entries)
    taking.loras((name, weight) for weight, _, name in parted)
    for name in ("software", "base_model_hash"):
        taking.take(name)
    return taking.result()


def _novel(values: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """NovelAI's, whose samplers begin with `k_`; its prompt stands in a text of its own as well."""
    taking = _Taking("novelai", values)
    taking.rename(NOVEL_KEYS)
    if "prompt" not in taking.found and texts.get("Description"):
        taking.found["prompt"] = texts["Description"]
    taking.size()
    taking.sampling(_text(taking.take("sampler")).removeprefix("k_"), taking.take("noise_schedule"))
    return taking.result()


def _invoke(values: Mapping[str, Any]) -> dict[str, Any]:
    """InvokeAI's, in the form of version 3 and later, or in that of version 2, which nests them below `image`."""
    older = values.get("image")
    taking = _Taking("invokeai", older if isinstance(older, dict) else values)
    taking.rename(INVOKE_KEYS)
    taking.found |= _invoke_prompts(taking.found.get("prompt"))
    taking.size()
    sampler, newer = _text(taking.take("sampler")), _text(taking.take("scheduler"))
    label = (newer or sampler).removeprefix("k_")
    name = label.removesuffix(KARRAS_MARK)
    taking.sampling(INVOKE_SAMPLERS.get(name, name), "karras" if name != label else "")
    for member, key in (("model", "base_model"), ("vae", "vae")):
        if model := _invoke_model(taking.take(member)):
            taking.found[key] = model
    loras = [entry for entry in _list(taking.take("loras")) if isinstance(entry, dict)]
    taking.loras((_invoke_model(entry.get("model") or entry.get("lora")), entry.get("weight", 1)) for entry in loras)
    taking.rest.pop("app_version", None)
    return taking.result()


def _invoke_prompts(prompt: Any) -> dict[str, str]:
    """Version 2 lists prompts with their weights, and writes what is unwanted into brackets."""
    first = prompt[0] if isinstance(prompt, list) and prompt else None
    text = _text(first.get("prompt")) if isinstance(first, dict) else ""
    opens, closes = text.rfind("["), text.rfind("]")
    if 0 <= opens < closes:
        return {"prompt": text[:opens].strip(), "negative_prompt": text[opens + 1 : closes].strip()}
    return {"prompt": text} if text else {}


def _invoke_model(model: Any) -> str:
    if not isinstance(model, dict):
        return _text(model)
    return _text(model.get("name") or model.get("model_name"))


def _comfy(graph: Mapping[str, Any]) -> dict[str, Any] | None:
    """What ComfyUI's graph of nodes says, from its first sampler upwards; None if it is no such graph."""
    nodes = {key: node for key, node in graph.items() if isinstance(node, dict) and "class_type" in node}
    if not nodes:
        return None
    walk = _Graph(nodes)
    return walk.result()


class _Graph:
    """A walk through ComfyUI's nodes, which name the nodes that their inputs come from."""

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self.nodes = nodes
        self.used: set[str] = set()
        self.taking = _Taking("comfyui", {})

    def result(self) -> dict[str, Any]:
        sampler = next((key for key, node in self.nodes.items() if "KSampler" in _text(node["class_type"])), None)
        if sampler is not None:
            self.used.add(sampler)
            self._read(self._inputs(sampler))
        rest = {_text(node["class_type"]) for key, node in self.nodes.items() if key not in self.used}
        self.taking.rest = dict.fromkeys(sorted(rest - {"", "SaveImage", "PreviewImage", "VAEDecode"}))
        return self.taking.result()

    def _read(self, inputs: Mapping[str, Any]) -> None:
        found = {
            "prompt": self._first(inputs.get("positive"), str, "text", "text_g", "prompt", "string", "value"),
            "negative_prompt": self._first(inputs.get("negative"), str, "text", "text_g", "prompt", "string", "value"),
            "seed": self._value(inputs, int, "seed", "noise_seed"),
            "steps": self._value(inputs, int, "steps"),
            "guidance_scale": self._value(inputs, (int, float), "cfg"),
            "base_model": self._first(inputs.get("model"), str, "ckpt_name"),
            "vae": next((value for value in self._everywhere("vae_name") if isinstance(value, str)), None),
        }
        layers = [value for value in self._everywhere("stop_at_clip_layer") if isinstance(value, int)]
        found["clip_skip"] = -layers[0] if layers else None
        width = self._first(inputs.get("latent_image"), int, "width")
        height = self._first(inputs.get("latent_image"), int, "height")
        found["resolution"] = f"({width}, {height})" if width and height else None
        self.taking.found |= {key: value for key, value in found.items() if value is not None}
        self.taking.sampling(self._value(inputs, str, "sampler_name", "sampler"), self._value(inputs, str, "scheduler"))
        self.taking.loras(self._loras(inputs.get("model")))

    def _inputs(self, key: str) -> Mapping[str, Any]:
        inputs = self.nodes[key].get("inputs")
        return inputs if isinstance(inputs, dict) else {}

    def _upstream(self, link: Any) -> Iterator[str]:
        """The node that a link names, then those that it gets its inputs from, nearest first."""
        waiting, seen = [link], set()
        while waiting:
            link = waiting.pop(0)
            key = str(link[0]) if isinstance(link, list) and link else None
            if key is None or key not in self.nodes or key in seen:
                continue
            seen.add(key)
            yield key
            waiting += self._inputs(key).values()

    def _first(self, link: Any, kind: Any, *names: str) -> Any:
        for key in self._upstream(link):
            for name in names:
                value = self._inputs(key).get(name)
                if isinstance(value, kind) and not isinstance(value, bool):
                    self.used.add(key)
                    return value
        return None

    def _value(self, inputs: Mapping[str, Any], kind: Any, *names: str) -> Any:
        """An input's value, or that of the node which it comes from."""
        value = next((inputs[name] for name in names if name in inputs), None)
        return self._first(value, kind, *names, "value") if isinstance(value, list) else value

    def _everywhere(self, name: str) -> Iterator[Any]:
        for key in self.nodes:
            if name in self._inputs(key):
                self.used.add(key)
                yield self._inputs(key)[name]

    def _loras(self, link: Any) -> Iterator[tuple[Any, Any]]:
        for key in self._upstream(link):
            inputs = self._inputs(key)
            if isinstance(inputs.get("lora_name"), str):
                self.used.add(key)
                yield inputs["lora_name"], inputs.get("strength_model", 1)
