"""Model files that this program knows by name: where each can be had, and how large it is. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from engine.choices import PERFORMANCES

_HUB = "https://huggingface.co"
_MISC = f"{_HUB}/lllyasviel/misc/resolve/main"
_MIRROR = f"{_HUB}/mashb1t/misc/resolve/main"
_INPAINT = f"{_HUB}/lllyasviel/fooocus_inpaint/resolve/main"
_FAVOURITES = f"{_HUB}/lllyasviel/fav_models/resolve/main/fav"
_MORE_FAVOURITES = f"{_HUB}/mashb1t/fav_models/resolve/main/fav"
_SDXL = f"{_HUB}/stabilityai/stable-diffusion-xl"
_MASKS = "https://github.com/danielgatis/rembg/releases/download/v0.0.0"
_FACES = "https://github.com/xinntao/facexlib/releases/download"
_DINO = "https://github.com/IDEA-Research/GroundingDINO/releases/download/v0.1.0-alpha"


@dataclass(frozen=True)
class KnownFile:
    """A file by kind of folder and name; `size` in bytes and `md5` where they are known."""

    kind: str
    name: str
    url: str
    size: int | None = None
    md5: str | None = None

    @property
    def place(self) -> tuple[str, str]:
        """Kind and name: the same for files that go to the same place."""
        return self.kind, self.name


_LORA_SIZES = {
    "sdxl_lightning_4step_lora.safetensors": 393_854_592,
    "sdxl_hyper_sd_4step_lora.safetensors": 787_359_648,
}

FILES = (
    KnownFile("vae_approx", "xlvaeapp.pth", f"{_MISC}/xlvaeapp.pth", 213_777),
    KnownFile("vae_approx", "vaeapp_sd15.pth", f"{_MISC}/vaeapp_sd15.pt", 213_777),
    KnownFile(
        "vae_approx",
        "xl-to-v1_interposer-v4.0.safetensors",
        f"{_MIRROR}/xl-to-v1_interposer-v4.0.safetensors",
        5_667_280,
    ),
    KnownFile("prompt_expansion", "pytorch_model.bin", f"{_MISC}/fooocus_expansion.bin", 351_283_802),
    KnownFile("inpaint", "fooocus_inpaint_head.pth", f"{_INPAINT}/fooocus_inpaint_head.pth", 52_602),
    KnownFile("inpaint", "inpaint.fooocus.patch", f"{_INPAINT}/inpaint.fooocus.patch"),
    KnownFile("inpaint", "inpaint_v25.fooocus.patch", f"{_INPAINT}/inpaint_v25.fooocus.patch", 2_580_722_369),
    KnownFile("inpaint", "inpaint_v26.fooocus.patch", f"{_INPAINT}/inpaint_v26.fooocus.patch", 1_323_362_033),
    *(
        KnownFile("loras", mode.lora, mode.lora_url, _LORA_SIZES.get(mode.lora))
        for mode in PERFORMANCES.values()
        if mode.lora and mode.lora_url
    ),
    KnownFile(
        "controlnet",
        "control-lora-canny-rank128.safetensors",
        f"{_MISC}/control-lora-canny-rank128.safetensors",
        395_733_680,
    ),
    KnownFile("controlnet", "fooocus_xl_cpds_128.safetensors", f"{_MISC}/fooocus_xl_cpds_128.safetensors", 395_706_528),
    KnownFile("controlnet", "fooocus_ip_negative.safetensors", f"{_MISC}/fooocus_ip_negative.safetensors", 65_616),
    KnownFile("controlnet", "ip-adapter-plus_sdxl_vit-h.bin", f"{_MISC}/ip-adapter-plus_sdxl_vit-h.bin", 1_013_454_427),
    KnownFile(
        "controlnet",
        "ip-adapter-plus-face_sdxl_vit-h.bin",
        f"{_MISC}/ip-adapter-plus-face_sdxl_vit-h.bin",
        1_013_454_761,
    ),
    KnownFile(
        "controlnet", "detection_Resnet50_Final.pth", f"{_FACES}/v0.1.0/detection_Resnet50_Final.pth", 109_497_761
    ),
    KnownFile("clip_vision", "clip_vision_vit_h.safetensors", f"{_MISC}/clip_vision_vit_h.safetensors", 1_972_298_538),
    KnownFile(
        "clip_vision",
        "model_base_caption_capfilt_large.pth",
        f"{_MISC}/model_base_caption_capfilt_large.pth",
        896_081_425,
    ),
    KnownFile("clip_vision", "wd-v1-4-moat-tagger-v2.onnx", f"{_MISC}/wd-v1-4-moat-tagger-v2.onnx", 326_197_340),
    KnownFile("clip_vision", "wd-v1-4-moat-tagger-v2.csv", f"{_MISC}/wd-v1-4-moat-tagger-v2.csv"),
    KnownFile(
        "upscale_models", "fooocus_upscaler_s409985e5.bin", f"{_MISC}/fooocus_upscaler_s409985e5.bin", 33_636_613
    ),
    KnownFile(
        "safety_checker",
        "stable-diffusion-safety-checker.bin",
        f"{_MIRROR}/stable-diffusion-safety-checker.bin",
        1_216_067_303,
    ),
    KnownFile("sam", "sam_vit_b_01ec64.pth", f"{_MIRROR}/sam_vit_b_01ec64.pth", 375_042_383),
    KnownFile("sam", "sam_vit_l_0b3195.pth", f"{_MIRROR}/sam_vit_l_0b3195.pth", 1_249_524_607),
    KnownFile("sam", "sam_vit_h_4b8939.pth", f"{_MIRROR}/sam_vit_h_4b8939.pth", 2_564_550_879),
    KnownFile("inpaint", "groundingdino_swint_ogc.pth", f"{_DINO}/groundingdino_swint_ogc.pth", 693_997_677),
    *(
        KnownFile("inpaint", f"{name}.onnx", f"{_MASKS}/{name}.onnx", md5=md5)
        for name, md5 in (
            ("u2net", "60024c5c889badc19c04ad937298a77b"),
            ("u2netp", "8e83ca70e441ab06c318d82300c84806"),
            ("u2net_human_seg", "c09ddc2e0104f800e3e1bb4652583d1f"),
            ("u2net_cloth_seg", "2434d1f3cb744e0e49386c906e5a08bb"),
            ("silueta", "55e59e0d8062d2f5d013f4725ee84782"),
            ("isnet-general-use", "fc16ebd8b0c10d971d3513d564d01e29"),
            ("isnet-anime", "6f184e756bb3bd901c8849220a83e38e"),
        )
    ),
    *(
        KnownFile("checkpoints", f"{name}.safetensors", f"{_FAVOURITES}/{name}.safetensors")
        for name in ("juggernautXL_v8Rundiffusion", "realisticStockPhoto_v20")
    ),
    *(
        KnownFile(kind, f"{name}.safetensors", f"{_MORE_FAVOURITES}/{name}.safetensors")
        for kind, name in (
            ("checkpoints", "animaPencilXL_v500"),
            ("checkpoints", "playground-v2.5-1024px-aesthetic.fp16"),
            ("checkpoints", "ponyDiffusionV6XL"),
            ("vae", "ponyDiffusionV6XL_vae"),
            ("loras", "SDXL_FILM_PHOTOGRAPHY_STYLE_V1"),
        )
    ),
    KnownFile(
        "checkpoints",
        "sd_xl_base_1.0_0.9vae.safetensors",
        f"{_SDXL}-base-1.0/resolve/main/sd_xl_base_1.0_0.9vae.safetensors",
    ),
    KnownFile(
        "loras",
        "sd_xl_offset_example-lora_1.0.safetensors",
        f"{_SDXL}-base-1.0/resolve/main/sd_xl_offset_example-lora_1.0.safetensors",
    ),
    KnownFile(
        "checkpoints",
        "sd_xl_refiner_1.0_0.9vae.safetensors",
        f"{_SDXL}-refiner-1.0/resolve/main/sd_xl_refiner_1.0_0.9vae.safetensors",
    ),
)
_BY_NAME = {(file.kind, file.name): file for file in FILES}


def by_name(kind: str, name: str) -> KnownFile | None:
    """The file of this kind and name, or None."""
    return _BY_NAME.get((kind, name))


def mirrored(url: str, mirror: str) -> str:
    """The address at a mirror of the hub that most files lie on; as it is where there is no mirror."""
    return url.replace(_HUB, mirror.rstrip("/"), 1) if mirror else url
