"""What an engine imports of diffusers while it starts: networks' building blocks, and nothing they only mention.

Importing one UNet class brings all of diffusers' transformers, schedulers, hooks and loaders with it, and so the
library transformers, scipy, and torch's compiler: 2500 modules beside torch's 1100, and three times its seconds. An
engine loads files by itself, compiles nothing, and imports what else it needs when it does. Nor does diffusers read the
descriptions of all packages that are installed, which takes a tenth of a second where they are many.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from types import ModuleType

ABSENT = ("torch._dynamo", "transformers")
"""What diffusers does without where it is not installed: a mark for torch's compiler, and other people's settings."""
PACKAGES = tuple(f"diffusers.models.{name}" for name in ("autoencoders", "controlnets", "transformers", "unets"))
"""Packages that import every network of their kind, of which only single modules are wanted."""
LOADERS = {
    "diffusers.loaders": ("PeftAdapterMixin", "UNet2DConditionLoadersMixin"),
    "diffusers.loaders.single_file_model": ("FromOriginalModelMixin",),
}
"""Modules of classes that give a network methods which load files."""


@contextmanager
def lean_imports() -> Iterator[None]:
    """Import diffusers' networks inside, without methods that load files; whatever was imported before stays as it is.

    Afterwards all of diffusers can be imported as ever, except that it knows of no transformers, and of no package
    that was installed under another name than its own. No other thread may import what is absent meanwhile.
    """
    absent = [name for name in ABSENT if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None is what Python takes for absent
    read_all = importlib.metadata.packages_distributions
    importlib.metadata.packages_distributions = dict  # it looks for each by its own name then
    standing: dict[str, ModuleType] = {}
    try:
        for made in (*map(_unexecuted, PACKAGES), *(_loader(name, *classes) for name, classes in LOADERS.items())):
            if made.__name__ not in sys.modules:
                sys.modules[made.__name__] = standing[made.__name__] = made
        yield
    finally:
        importlib.metadata.packages_distributions = read_all
        for name in absent:
            del sys.modules[name]
        for name in standing:
            del sys.modules[name]


def _unexecuted(name: str) -> ModuleType:
    """A package of which modules can be imported, but whose own imports are not made."""
    spec = find_spec(name)
    assert spec is not None, f"diffusers has no {name}"
    return module_from_spec(spec)


def _loader(name: str, *classes: str) -> ModuleType:
    """A module of these classes, which have no methods."""
    module = ModuleType(name)
    vars(module).update({each: type(each, (), {}) for each in classes}, __path__=[])
    return module
