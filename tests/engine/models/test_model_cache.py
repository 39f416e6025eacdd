"""Which models stay in memory."""

import weakref

import pytest
import torch

from engine.models.model_cache import Residency, default_budget

CPU = torch.device("cpu")


class Part:
    def __init__(self, size):
        self.size = size


@pytest.fixture
def residency():
    return Residency(CPU, budget=10)


def test_a_part_is_loaded_once(residency):
    loads = []
    first = residency.get("a", lambda: loads.append(1) or Part(4))
    assert residency.get("a", lambda: loads.append(1) or Part(4)) is first
    assert loads == [1]


def test_the_part_unused_for_longest_makes_room_before_the_next_is_loaded(residency):
    for key in ("a", "b"):
        residency.get(key, lambda: Part(4), 4)
    residency.begin()
    residency.get("a", lambda: Part(4), 4)
    residency.begin()
    seen = []
    residency.get("c", lambda: seen.append(residency.size) or Part(4), 4)
    assert seen == [4], "b was dropped before c was loaded, a was not"
    assert residency.size == 8


def test_what_the_task_uses_is_never_dropped(residency):
    residency.begin()
    parts = [residency.get(key, lambda: Part(8), 8) for key in ("base", "refiner")]
    assert residency.size == 16
    assert [residency.get(key, lambda: Part(0)) for key in ("base", "refiner")] == parts


def test_what_was_dropped_is_gone_from_memory(residency):
    part = weakref.ref(residency.get("a", lambda: Part(9)))
    residency.begin()
    residency.get("b", lambda: Part(9), 9)
    assert part() is None


def test_alternating_parts_leave_memory_as_it_was(residency):
    loaded = []

    def load():
        part = Part(4)
        loaded.append(weakref.ref(part))
        return part

    for turn in range(50):
        residency.begin()
        residency.get(turn % 3, load, 4)
    assert len(loaded) > 40 and residency.size == 8
    assert sum(part() is not None for part in loaded) == 2


def test_a_part_is_dropped_by_name_and_others_hear_of_it():
    told = []
    residency = Residency(CPU, 10, lambda: told.append("dropped"))
    residency.get("a", lambda: Part(1))
    residency.drop("a")
    residency.drop("a")
    assert (told, residency.size) == (["dropped"], 0)


def test_half_of_the_machine_is_for_models():
    assert 0 < default_budget(CPU) < 1 << 50


def test_what_other_work_asks_for_is_not_in_use_afterwards(residency):
    residency.get("task's", lambda: Part(4), 4)
    with residency.aside():
        residency.get("other's", lambda: Part(4), 4)
    kept = residency.get("task's", lambda: Part(4), 4)
    residency.get("more", lambda: Part(6), 6)
    assert residency.size == 10, "the other's part made room"
    assert residency.get("task's", lambda: Part(4), 4) is kept
