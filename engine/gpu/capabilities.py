"""What a device computes in, and what only CUDA has: decided here, from facts that can be named without the card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache

import torch

from engine.errors import NoSuchDevice

FP32, FP16, BF16 = torch.float32, torch.float16, torch.bfloat16
FORMATS = {
    "fp32": FP32,
    "fp16": FP16,
    "bf16": BF16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}

ACCELERATORS = ("cuda", "xpu", "mps")
"""The types of devices that are drawn on where torch finds one; AMD's are called cuda."""
TENSOR_CORES = (7, 0)
"""The first compute capability with tensor cores: those before it compute in fp16 slowly, or wrongly."""
EIGHT_BIT_CORES = (8, 9)
"""The first that multiplies in 8 bits."""
NO_EIGHT_BITS = (
    "UNET_ARITHMETIC=fp8 has no effect: it needs an NVIDIA card of compute capability 8.9 or more, a UNet stored in "
    "fp16 or bf16, and an ATTENTION other than split"
)
WITHOUT_TENSOR_CORES = (
    *("GTX 16", "MX450", "MX550", "CMP 30HX"),
    *("T400", "T500", "T550", "T600", "T1000", "T1200", "T2000"),
)
"""In the names of Turing cards without tensor cores, whose fp16 gives black pictures."""


@dataclass(frozen=True)
class Card:
    """What is known of a device; `hip` says that it is AMD's, which torch calls CUDA as well."""

    type: str
    capability: tuple[int, int] = (0, 0)
    name: str = ""
    bf16: bool = False
    hip: bool = False

    @classmethod
    def of(cls, device: torch.device) -> Card:
        """What is known of this device."""
        return _card(device)


@lru_cache
def _card(device: torch.device) -> Card:
    if device.type == "cuda":
        capability, name = torch.cuda.get_device_capability(device), torch.cuda.get_device_name(device)
        with torch.cuda.device(device):  # it asks the current one
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return Card("cuda", capability, name, bf16, torch.version.hip is not None)
    if device.type == "xpu":
        return Card("xpu", name=torch.xpu.get_device_name(device), bf16=torch.xpu.is_bf16_supported())
    return Card(device.type)


@dataclass(frozen=True)
class Precision:
    """The number formats of a checkpoint's parts.

    `unet` is what its UNet's weights are stored in, `arithmetic` what it computes in, and what goes with it. The VAE
    computes as it is stored, perhaps on the processor. Text encoders compute in fp32 whatever they are stored in.
    """

    unet: torch.dtype
    arithmetic: torch.dtype
    vae: torch.dtype
    text: torch.dtype = torch.float16
    vae_on_processor: bool = False
    eight_bit_products: bool = False
    """Whether the linear layers of the UNet's transformers multiply in 8 bits, which it has beside its weights."""

    @property
    def unet_bytes(self) -> int:
        """About what a number of the UNet takes in memory."""
        return self.unet.itemsize + self.eight_bit_products

    @property
    def upcast(self) -> bool:
        """Whether the UNet computes in another format than it is stored in."""
        return self.unet != self.arithmetic

    @classmethod
    def for_device(cls, device: torch.device) -> Precision:
        """As the table says for this device."""
        return precision_of(Card.of(device))


@dataclass(frozen=True)
class Features:
    """What a device can do beside arithmetic: all of it is asked for here, and done without elsewhere."""

    graphs: bool
    """Recorded UNet calls are replayed."""
    kernels: bool
    """Kernels of our own are compiled for it."""
    streams: bool
    """Pictures are decoded and copied beside the drawing, on CUDA's streams."""
    pinning: bool
    """Weights and noise come from pinned memory of the host."""

    @classmethod
    def for_device(cls, device: torch.device) -> Features:
        """What this device can do."""
        return features_of(Card.of(device))


@dataclass(frozen=True)
class CardKind:
    """A row of the table: devices of one kind, and the number formats that suit them."""

    words: str
    holds: Callable[[Card], bool]
    precision: Precision


TABLE = (
    CardKind("NVIDIA, without fp16", lambda card: _nvidia(card) and _lacks_fp16(card), Precision(FP16, FP32, FP32)),
    CardKind("CUDA and ROCm, with bf16", lambda card: card.type == "cuda" and card.bf16, Precision(FP16, FP16, BF16)),
    CardKind("CUDA and ROCm, without bf16", lambda card: card.type == "cuda", Precision(FP16, FP16, FP32)),
    CardKind("Intel, with bf16", lambda card: card.type == "xpu" and card.bf16, Precision(FP16, FP16, BF16)),
    CardKind("Intel, without bf16", lambda card: card.type == "xpu", Precision(FP16, FP16, FP32)),
    CardKind("Apple", lambda card: card.type == "mps", Precision(FP16, FP16, FP32)),
    CardKind("processor, or unknown", lambda card: True, Precision(FP32, FP32, FP32)),
)
"""The first row that holds counts.

SDXL's VAE leaves fp16's range, so it takes bf16, or fp32, whose pictures are decoded in tiles where the memory plan
finds no room for them whole.
"""


def precision_of(card: Card) -> Precision:
    """The number formats for a card."""
    return next(row.precision for row in TABLE if row.holds(card))


@dataclass(frozen=True)
class DrawingSettings:
    """What the server was told about number formats and attention, in the words of `engine.choices`; empty: nothing."""

    unet_storage: str = ""
    vae_format: str = ""
    text_storage: str = ""
    attention: str = ""
    unet_arithmetic: str = ""

    def told(self, precision: Precision) -> dict[str, str]:
        """What was asked for and is in force, by the settings' names, as a record tells it."""
        told = {name.upper(): word for name, word in asdict(self).items() if word}
        if not precision.eight_bit_products:
            told.pop("UNET_ARITHMETIC", None)
        return told

    def unmet(self, precision: Precision) -> list[str]:
        """What was asked for and is not in force, as notes for the client."""
        if not self.unet_arithmetic or precision.eight_bit_products:
            return []
        return [NO_EIGHT_BITS]

    def precision(self, card: Card) -> Precision:
        """The card's number formats with those that were asked for; it computes in none that it lacks."""
        suits = precision_of(card)
        unet = FORMATS.get(self.unet_storage, suits.unet)
        lacking = (unet == FP16 != suits.arithmetic) or (unet == BF16 and not card.bf16) or unet == FP32
        own = unet if self.unet_storage and unet.itemsize > 1 else suits.arithmetic
        on_processor = self.vae_format == "cpu"
        vae = FP32 if on_processor else FORMATS.get(self.vae_format, suits.vae)
        text, arithmetic = FORMATS.get(self.text_storage, suits.text), FP32 if lacking else own
        eight = self.unet_arithmetic == "fp8" and self.attention != "split" and arithmetic == unet
        eight = eight and _nvidia(card) and card.capability >= EIGHT_BIT_CORES
        return Precision(unet, arithmetic, vae, text, on_processor, eight)


def features_of(card: Card) -> Features:
    """What a card can do; of AMD's only what does not hang on NVIDIA's compiler and driver."""
    own = _nvidia(card)
    return Features(graphs=own, kernels=own and not _lacks_fp16(card), streams=card.type == "cuda", pinning=own)


def chosen_device(name: str | None = None) -> torch.device:
    """The device of this name; without one, the machine's accelerator if torch has one, else the processor.

    Raises:
        NoSuchDevice: torch finds none here.
    """
    there = torch.accelerator.current_accelerator(check_available=True)
    if not name:
        return there if there is not None and there.type in ACCELERATORS else torch.device("cpu")
    device = torch.device(name)
    missing = there is None or there.type != device.type or (device.index or 0) >= torch.accelerator.device_count()
    if device.type != "cpu" and missing:
        raise NoSuchDevice(no_such_device(name, there.type if there else "", torch.accelerator.device_count()))
    return device


def no_such_device(name: str, kind: str, count: int) -> str:
    """What to say of a device that is not there, where torch finds this many of one kind, or none."""
    if not count:
        found = "torch finds no card of any kind here"
        return f"DEVICE is {name}, and {found}: give cpu or nothing, or install the driver and the torch of your card"
    cards = [f"{kind}:{number}" for number in range(count)] if count > 1 else [kind]
    found = f"torch finds only {', '.join(cards)} and cpu here"
    return f"DEVICE is {name}, and {found}: give one of them, or nothing for {kind}"


def _nvidia(card: Card) -> bool:
    return card.type == "cuda" and not card.hip


def _lacks_fp16(card: Card) -> bool:
    turing = card.capability == (7, 5) and any(mark in card.name for mark in WITHOUT_TENSOR_CORES)
    return card.capability < TENSOR_CORES or turing
