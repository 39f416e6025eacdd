"""PyTorch's pickled files read without running anything: names and shapes of their tensors. No torch.

A pickle names classes and functions and says what to call; here every name but a few harmless ones stands for
`Unknown`, which takes any call and does nothing. So what trainers leave beside the weights (callbacks, settings,
numpy's numbers) neither runs nor fails.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

WRAPPERS = ("state_dict", "params_ema", "params", "model")
"""Names under which a file may hold its tensors, the best first."""
MOST_PICKLED = 16 << 20
"""Bytes of the part of an archive that is unpickled, which holds no weights; SDXL's has half a megabyte."""
MEMO_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
"""Operations that give an object a number of the file's choice."""
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""What files of before 2020, which are no archives, begin with."""


class Unknown:
    """An object of a class that is not known here; `state` is what was saved of it."""

    state: Any = None
    dump_patches = False  # what PyTorch asks the classes of modules in files of before 2020

    def __new__(cls, *_args: Any, **_named: Any) -> Unknown:
        """An object, whatever its class was called with."""
        return object.__new__(cls)

    def __init__(self, *_args: Any, **_named: Any) -> None:
        """Take what its class was called with."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, _key: Any, _value: Any) -> None:
        """Take an item, as a dictionary would."""

    def __call__(self, *_args: Any, **_named: Any) -> Unknown:
        """Take a call, as a method would."""
        return self

    def append(self, _value: Any) -> None:
        """Take an item, as a list would."""

    extend = add = update = append


class Shape(tuple[int, ...]):
    """The shape of a tensor, which takes the tensor's place."""

    def __setstate__(self, _state: Any) -> None:
        """Take what is saved of a tensor besides its weights."""


def check_memo(file: IO[bytes]) -> None:
    """Refuse a pickle that numbers an object beyond its own length: memory would be taken for all numbers up to it.

    Raises:
        ValueError: it does, or is no pickle.
    """
    start = file.tell()
    numbers = (int(number or 0) for code, number, _ in pickletools.genops(file) if code.name in MEMO_PUTS)
    highest = max(numbers, default=0)
    length = file.tell() - start
    file.seek(start)
    if highest > length:
        raise ValueError(f"an object has the number {highest} in a pickle of {length} bytes")


class Reader(pickle.Unpickler):
    """Unpickles with these names known, by module and name; every other one is `Unknown`."""

    def __init__(self, file: IO[bytes], known: Mapping[str, Callable[..., Any]], **options: Any) -> None:
        check_memo(file)
        super().__init__(file, **options)
        self.known = known

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for; nothing is imported."""
        return self.known.get(f"{module}.{name}", Unknown)


class _ShapeReader(Reader):
    """Unpickles shapes in place of tensors."""

    def persistent_load(self, _key: Any) -> Any:
        """Weights are not read."""
        return None


def _rebuilt(_storage: Any, _offset: int, size: Any, *_rest: Any) -> Shape:
    if not all(isinstance(side, int) for side in size):
        raise ValueError("a tensor whose shape holds no whole numbers")
    return Shape(size)


def parameter(data: Any, *_rest: Any) -> Any:
    """The tensor of a parameter, in the parameter's place."""
    return data


SHAPES: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor": _rebuilt,
    "torch._utils._rebuild_tensor_v2": _rebuilt,
    "torch._utils._rebuild_parameter": parameter,
}


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the file.

    Raises:
        ValueError: it is no such file, or too damaged; the text is for nobody.
    """
    tensors = unwrapped(content(path))
    return {str(name): tuple(value) for name, value in tensors.items() if isinstance(value, Shape)}


def content(path: Path) -> Any:
    """What the file holds, with a `Shape` in the place of each tensor.

    Raises:
        ValueError: it is no such file, or too damaged; the text is for nobody.
    """
    try:
        return with_parameters(_content(path))
    except Exception as error:  # damaged pickles fail in every way there is
        raise ValueError(str(error)) from error


def with_parameters(content: Any) -> Any:
    """The content with the tensors of a `ParameterDict`, as embeddings have them, in its place."""
    if not isinstance(content, dict):
        return content
    return {name: _parameters(value) if isinstance(value, Unknown) else value for name, value in content.items()}


def _parameters(value: Unknown) -> Any:
    held = value.state.get("_parameters") if isinstance(value.state, dict) else None
    return dict(held) if isinstance(held, dict) else value


def unwrapped(content: Any) -> dict[Any, Any]:
    """The dictionary that holds a file's tensors; an empty one if there is none."""
    if not isinstance(content, dict):
        return {}
    inner = next((content[name] for name in WRAPPERS if isinstance(content.get(name), dict)), content)
    return dict(inner)


def _content(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            name = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
            if name is None or archive.getinfo(name).file_size > MOST_PICKLED:
                raise ValueError("no archive of tensors")
            return _ShapeReader(io.BytesIO(archive.read(name)), SHAPES).load()
    with path.open("rb") as file:
        if Reader(file, {}).load() != LEGACY_MAGIC:
            raise ValueError("no file of tensors")
        for _ in ("protocol", "system"):
            Reader(file, {}).load()
        return _ShapeReader(file, SHAPES).load()
