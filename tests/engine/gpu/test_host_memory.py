"""Weights on the host take only what the machine has room for; the rest lies in the file that is mapped."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engine.gpu.host_memory import NO_LIMIT, HostMemory, MappedFile, available_host_memory
from engine.gpu.offload import WeightGroup, at_hand, in_file, tensors_of

CPU = torch.device("cpu")
MIB = 1 << 20
ROOM, NO_ROOM = HostMemory(pin=False, spare=0), HostMemory(pin=False, spare=NO_LIMIT)


def own_memory():
    """Bytes that this process holds, without the pages of files that it has mapped."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) << 10


@pytest.fixture
def mapped(tmp_path):
    """A layer of 64 MiB whose weights lie in a file, and the file."""
    path = tmp_path / "layer.safetensors"
    weights = torch.arange(4096 * 4096, dtype=torch.int32).view(4096, 4096).view(torch.float32)
    save_file({"weight": weights}, path)
    del weights
    with torch.device("meta"):
        layer = nn.Linear(4096, 4096, bias=False).requires_grad_(False)
    layer.load_state_dict(load_file(path), assign=True)
    return layer, path


def content(layer):
    return layer.weight.view(torch.int32).flatten()[:: 4096 * 1024].tolist()


def test_where_there_is_no_room_weights_stay_in_the_mapped_file(mapped):
    layer, path = mapped
    expected, before = content(layer), own_memory()
    group = WeightGroup(tensors_of(layer), CPU, NO_ROOM, MappedFile(path))
    for _ in range(2):
        assert own_memory() - before < 16 * MIB
        group.onload()
        assert content(layer) == expected
        assert own_memory() - before > 48 * MIB  # a processor's memory is the device's here
        group.offload()
    assert group.lies_apart


def test_where_there_is_room_weights_are_in_memory_once(mapped):
    layer, path = mapped
    before = own_memory()
    group = WeightGroup(tensors_of(layer), CPU, ROOM, MappedFile(path))
    assert 48 * MIB < own_memory() - before < 80 * MIB and not group.lies_apart


@pytest.mark.parametrize("host", [ROOM, NO_ROOM], ids=["room", "no room"])
@torch.inference_mode()
def test_changed_weights_last_and_the_file_and_its_originals_stay_as_they_are(mapped, host):
    layer, path = mapped
    expected, bytes_before = content(layer), path.read_bytes()
    group = WeightGroup(tensors_of(layer), CPU, host, MappedFile(path))
    original = in_file(layer.weight)
    with at_hand(layer.weight, changed=True):
        layer.weight.zero_()
    group.onload()
    assert not content(layer)[0] and not any(content(layer)) and not group.lies_apart
    assert original.view(torch.int32).flatten()[:: 4096 * 1024].tolist() == expected
    assert path.read_bytes() == bytes_before


def test_originals_that_a_file_has_take_no_memory_and_others_are_not_taken_for_it(mapped):
    layer, path = mapped
    with_bias = nn.Sequential(layer, nn.Linear(8, 8))
    before = own_memory()
    WeightGroup(tensors_of(with_bias), CPU, NO_ROOM, MappedFile(path))
    assert in_file(layer.weight).shape == layer.weight.shape
    assert in_file(with_bias[1].weight) is None
    assert own_memory() - before < 16 * MIB
    assert not MappedFile(path.with_name("none")).holds(in_file(layer.weight).untyped_storage())


MEMINFO = "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n"
STAT = "inactive_file 1000\nactive_file 200\ntotal_inactive_file 5000\ntotal_active_file 600\n"


@pytest.mark.parametrize(
    ("groups", "files", "left"),
    [
        ("", {}, 8_000_000 << 10),
        ("0::/a/b\n", {"a/memory.max": "9000", "a/memory.current": "4000", "a/memory.stat": STAT}, 6200),
        ("0::/a\n", {"a/memory.max": "max", "a/memory.current": "4000", "a/memory.stat": STAT}, 8_000_000 << 10),
        ("0::/\n", {"memory.max": "9000", "memory.current": "9000", "memory.stat": STAT}, 1200),
        (
            "4:memory:/docker/x\n0::/\n",  # the place is another one's: inside a container its own is at the top
            {
                "memory/memory.limit_in_bytes": "9000",
                "memory/memory.usage_in_bytes": "1000",
                "memory/memory.stat": STAT,
            },
            13600,
        ),
        (
            "4:memory:/\n",
            {"memory/memory.limit_in_bytes": str(2**63 - 4096), "memory/memory.usage_in_bytes": "1000"}
            | {"memory/memory.stat": STAT},
            8_000_000 << 10,
        ),
    ],
    ids=["none", "a group above", "no limit", "its own", "version 1", "version 1 without limit"],
)
def test_a_containers_limit_is_the_machines_memory(tmp_path, groups, files, left):
    everything = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in {"proc/meminfo": MEMINFO, "proc/self/cgroup": groups, **everything}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_host_memory(tmp_path) == left


def test_a_system_that_does_not_say_has_much_memory(tmp_path):
    assert available_host_memory(tmp_path) == NO_LIMIT
    assert 0 < available_host_memory() < NO_LIMIT


def test_pinning_is_asked_for_only_where_there_is_room(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "cudart", lambda: asked.append("pin"))
    assert len(HostMemory(pin=True, spare=NO_LIMIT).take(100)) == 100
    assert asked == []
