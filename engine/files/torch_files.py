"""PyTorch's pickled files with their tensors, read without running anything that they name."""

from __future__ import annotations

import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any
from zipfile import is_zipfile

import torch
from torch import Tensor
from torch.serialization import SourceChangeWarning

from engine.files.pickled import Reader, parameter, with_parameters


def load(path: Path) -> Any:
    """What the file holds, its tensors on the CPU, mapped into memory where the format allows it.

    PyTorch's own reader refuses whole files for one object that it does not know; in them such objects are `Unknown`.

    Raises:
        pickle.UnpicklingError, RuntimeError, EOFError, ValueError: the file cannot be read.
    """
    mapped = is_zipfile(path)  # files of before 2020 are no archives, which alone can be mapped
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SourceChangeWarning)  # of classes that are not read
            content = torch.load(path, map_location="cpu", weights_only=False, mmap=mapped, pickle_module=_PICKLE)
    return with_parameters(content)


def _tensor(*arguments: Any) -> Tensor:
    return torch._utils._rebuild_tensor_v2(*arguments)


def _older_tensor(*arguments: Any) -> Tensor:
    return torch._utils._rebuild_tensor(*arguments)


KNOWN: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor": _older_tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": parameter,
}
"""All that is called; functions of our own, so that no file can change PyTorch's."""


class _Unpickler(Reader):
    def __init__(self, file: IO[bytes], **options: Any) -> None:
        super().__init__(file, KNOWN, **options)


def _load(file: IO[bytes], **options: Any) -> Any:
    return _Unpickler(file, **options).load()


_PICKLE = SimpleNamespace(__name__="safe", Unpickler=_Unpickler, load=_load)
"""What PyTorch takes in place of the module `pickle`."""
