"""Library modules filled with a file's weights: no default initialisation, and nothing missing or left over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from engine.errors import CheckpointError
from engine.gpu.memory_format import to_channels_last
from engine.gpu.onednn import use_onednn
from engine.gpu.upcast import stored
from engine.models.folded_upsample import fold_upsampling


class _Uninitialised(TorchFunctionMode):
    """Leaves the tensors that modules hand to `torch.nn.init` as they are."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


@contextmanager
def unfilled() -> Iterator[None]:
    """Build modules for `fill` inside: on the meta device, and without first weights, which import torch's compiler."""
    with torch.device("meta"), _Uninitialised():
        yield


def fill(
    module: Any,
    tensors: Mapping[str, Tensor],
    device: torch.device,
    dtype: torch.dtype | None,
    what: str,
    *,
    carried: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Any:
    """`module`, built `unfilled`, with these weights on `device` in `dtype`, frozen and in eval mode.

    Without `dtype` each weight has its tensor's own number format. What is to be `carried` lies on the host for now and
    computes elsewhere: it is left in the file's mapped memory where it can be, and not made ready for a processor.
    `check` is called before each weight and may raise.

    Raises:
        CheckpointError: weights are missing, left over or of another shape.
    """
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in tensors]
    strangers = [name for name in tensors if name not in wanted]
    wrong = [name for name in wanted if name in tensors and tensors[name].shape != wanted[name].shape]
    for names, problem in ((missing, "lacks"), (strangers, "has unknown"), (wrong, "has misshapen")):
        if names:
            raise CheckpointError(f"{what} {problem} {len(names)} tensor(s), first {names[0]}")
    # First to the device, then to the number format: a GPU converts faster than it is fed.
    filled = {}
    for name in wanted:
        check()
        given = tensors[name].to(device, copy=dtype is None and not carried)
        filled[name] = given if dtype is None else stored(given, dtype)
    module.load_state_dict(filled, assign=True)
    _materialise_constants(module, device)
    if device.type == "cpu" and not carried:
        fold_upsampling(module)
        to_channels_last(module)  # convolutions are a fifth faster in it there
        if dtype == torch.float32:
            use_onednn(module)
    return module.requires_grad_(False).eval()


class Weighted(Protocol):
    """Something with weights, as modules are."""

    def parameters(self) -> Iterator[Tensor]:
        """Its weights."""
        ...


_SIZES: WeakKeyDictionary[Weighted, int] = WeakKeyDictionary()
"""Bytes of loaded modules' weights: to walk through a large one takes ten milliseconds, which a GPU waits for."""


def weights_size(*modules: Weighted) -> int:
    """Bytes of the weights of modules that are loaded, each counted once, and of what is kept beside them."""
    for module in modules:
        if module not in _SIZES:
            _SIZES[module] = sum(weight.nbytes for weight in module.parameters())
            _SIZES[module] += getattr(module, "bytes_in_eight_bits", 0)
    return sum(_SIZES[module] for module in modules)


def _materialise_constants(module: nn.Module, device: torch.device) -> None:
    """Buffers that no file holds: CLIP's row of position numbers."""
    for owner in module.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            if buffer.is_meta:
                if name != "position_ids":
                    raise CheckpointError(f"the library's buffer {name} has no known content")
                setattr(owner, name, torch.arange(buffer.shape[-1], device=device).expand(buffer.shape))
