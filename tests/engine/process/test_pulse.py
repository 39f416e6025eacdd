"""The readings that the engine process sends with its pulse."""

import sys
from types import ModuleType

from engine.process.pulse import gpu_memory


def test_the_pulse_beats_while_torch_is_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch.cuda", raising=False)
    assert gpu_memory() is None
    monkeypatch.setitem(sys.modules, "torch.cuda", ModuleType("torch.cuda"))
    assert gpu_memory() is None
