"""The names a request may use: samplers, schedulers, performance modes, sizes and the other closed lists.

The one place they stand; schema, documentation and engine read them here. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass

SAMPLERS = (
    "euler",
    "euler_ancestral",
    "heun",
    "heunpp2",
    "dpm_2",
    "dpm_2_ancestral",
    "lms",
    "dpm_fast",
    "dpm_adaptive",
    "dpmpp_2s_ancestral",
    "dpmpp_sde",
    "dpmpp_sde_gpu",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu",
    "dpmpp_3m_sde",
    "dpmpp_3m_sde_gpu",
    "ddpm",
    "lcm",
    "tcd",
    "restart",
    "ddim",
    "uni_pc",
    "uni_pc_bh2",
)

SCHEDULERS = (
    "normal",
    "karras",
    "exponential",
    "sgm_uniform",
    "simple",
    "ddim_uniform",
    "lcm",
    "turbo",
    "align_your_steps",
    "tcd",
    "edm_playground_v2.5",
)


@dataclass(frozen=True)
class Performance:
    """A speed/quality profile: its step counts and, for distilled modes, what it forces."""

    name: str
    steps: int
    upscale_steps: int
    lora: str | None = None
    lora_weight: float = 1.0
    lora_url: str | None = None
    sampler: str | None = None
    scheduler: str | None = None

    @property
    def distilled(self) -> bool:
        """Whether the mode needs a distillation LoRA and runs without guidance."""
        return self.lora is not None


_MISC = "https://huggingface.co/lllyasviel/misc/resolve/main/"
_MIRROR = "https://huggingface.co/mashb1t/misc/resolve/main/"

PERFORMANCES = {
    mode.name: mode
    for mode in (
        Performance("Quality", 60, 36),
        Performance("Speed", 30, 18),
        Performance(
            "Extreme Speed",
            8,
            8,
            "sdxl_lcm_lora.safetensors",
            1.0,
            _MISC + "sdxl_lcm_lora.safetensors",
            "lcm",
            "lcm",
        ),
        Performance(
            "Lightning",
            4,
            4,
            "sdxl_lightning_4step_lora.safetensors",
            1.0,
            _MIRROR + "sdxl_lightning_4step_lora.safetensors",
            "euler",
            "sgm_uniform",
        ),
        Performance(
            "Hyper-SD",
            4,
            4,
            "sdxl_hyper_sd_4step_lora.safetensors",
            0.8,
            _MIRROR + "sdxl_hyper_sd_4step_lora.safetensors",
            "dpmpp_sde_gpu",
            "karras",
        ),
    )
}

ASPECT_RATIOS = (
    "704×1408",
    "704×1344",
    "768×1344",
    "768×1280",
    "832×1216",
    "832×1152",
    "896×1152",
    "896×1088",
    "960×1088",
    "960×1024",
    "1024×1024",
    "1024×960",
    "1088×960",
    "1088×896",
    "1152×896",
    "1152×832",
    "1216×832",
    "1280×768",
    "1344×768",
    "1344×704",
    "1408×704",
    "1472×704",
    "1536×640",
    "1600×640",
    "1664×576",
    "1728×576",
)

UPSCALE_OR_VARY_METHODS = (
    "Disabled",
    "Vary (Subtle)",
    "Vary (Strong)",
    "Upscale (1.5x)",
    "Upscale (2x)",
    "Upscale (Fast 2x)",
    "Upscale (Custom)",
)
OUTPAINT_SIDES = ("Left", "Right", "Top", "Bottom")
OUTPUT_FORMATS = ("png", "jpg", "jpeg", "webp")
OUTPUT_QUALITY = 95
"""Of JPEG and WebP where nobody asks for another, on their scale to 100."""
METADATA_SCHEMES = ("fooocus", "a1111")
REFINER_SWAP_METHODS = ("joint", "separate", "vae")
INPAINT_ENGINES = ("None", "v1", "v2.5", "v2.6")
CONTROL_TYPES = ("ImagePrompt", "FaceSwap", "PyraCanny", "CPDS")
MASK_MODELS = (
    "u2net",
    "u2netp",
    "u2net_human_seg",
    "u2net_cloth_seg",
    "silueta",
    "isnet-general-use",
    "isnet-anime",
    "sam",
)
CLOTH_CATEGORIES = ("full", "upper", "lower")
SAM_MODELS = ("vit_b", "vit_l", "vit_h")
DESCRIBE_TYPES = ("Photo", "Anime")
ENHANCE_ORDERS = ("Before First Enhancement", "After Last Enhancement")
ENHANCE_PROMPT_TYPES = ("Original Prompts", "Last Filled Enhancement Prompts")
CURRENT_TABS = ("enhance", "ip", "uov", "inpaint")

UNET_STORAGES = ("fp8_e4m3fn", "fp8_e5m2", "fp16", "bf16", "fp32")
VAE_FORMATS = ("fp16", "bf16", "fp32", "cpu")
TEXT_STORAGES = ("fp16", "fp32")
ATTENTIONS = ("pytorch", "split")
UNET_ARITHMETICS = ("fp8",)
"""What a server may be told about number formats and attention; requests name none of it."""
VAE_OF_CHECKPOINT = "Default (model)"
NO_MODEL = "None"
EXPANSION_STYLE = "Fooocus V2"
RANDOM_STYLE = "Random Style"
BUILTIN_CHECKPOINT = "fooocus_mini.safetensors"
