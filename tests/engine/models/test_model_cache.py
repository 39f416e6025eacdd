"""Which models stay in memory."""

import weakref

import pytest
import torch

from engine.models.model_cache import ModelCache, default_budget

pytestmark = pytest.mark.usefixtures("settled")

CPU = torch.device("cpu")


class Part:
    def __init__(self, size):
        self.size = size


@pytest.fixture
def model_cache():
    return ModelCache(CPU, budget=10)


def test_a_part_is_loaded_once(model_cache):
    loads = []
    first = model_cache.get("a", lambda: loads.append(1) or Part(4))
    assert model_cache.get("a", lambda: loads.append(1) or Part(4)) is first
    assert loads == [1]


def test_the_part_unused_for_longest_makes_room_before_the_next_is_loaded(model_cache):
    for key in ("a", "b"):
        model_cache.get(key, lambda: Part(4), 4)
    model_cache.begin()
    model_cache.get("a", lambda: Part(4), 4)
    model_cache.begin()
    seen = []
    model_cache.get("c", lambda: seen.append(model_cache.size) or Part(4), 4)
    assert seen == [4], "b was dropped before c was loaded, a was not"
    assert model_cache.size == 8


def test_what_the_task_uses_is_never_dropped(model_cache):
    model_cache.begin()
    parts = [model_cache.get(key, lambda: Part(8), 8) for key in ("base", "refiner")]
    assert model_cache.size == 16
    assert [model_cache.get(key, lambda: Part(0)) for key in ("base", "refiner")] == parts


def test_what_was_dropped_is_gone_from_memory(model_cache):
    part = weakref.ref(model_cache.get("a", lambda: Part(9)))
    model_cache.begin()
    model_cache.get("b", lambda: Part(9), 9)
    assert part() is None


def test_clearing_drops_everything_from_memory(model_cache):
    forgotten = []
    model_cache.forget = lambda: forgotten.append(dict(model_cache.parts))
    parts = [weakref.ref(model_cache.get(key, lambda: Part(4))) for key in ("a", "b")]
    model_cache.clear()
    assert [part() for part in parts] == [None, None] and model_cache.size == 0
    assert forgotten == [{}], "graphs are dropped after their models"


@pytest.mark.slow
def test_alternating_parts_leave_memory_as_it_was(model_cache):
    loaded = []

    def load():
        part = Part(4)
        loaded.append(weakref.ref(part))
        return part

    for turn in range(50):
        model_cache.begin()
        model_cache.get(turn % 3, load, 4)
    assert len(loaded) > 40 and model_cache.size == 8
    assert sum(part() is not None for part in loaded) == 2


def test_a_part_is_dropped_by_name_and_others_hear_of_it():
    told = []
    model_cache = ModelCache(CPU, 10, lambda: told.append("dropped"))
    model_cache.get("a", lambda: Part(1))
    model_cache.drop("a")
    model_cache.drop("a")
    assert (told, model_cache.size) == (["dropped"], 0)


def test_half_of_the_machine_is_for_models():
    assert 0 < default_budget(CPU) < 1 << 50


def test_what_other_work_asks_for_is_not_in_use_afterwards(model_cache):
    model_cache.get("task's", lambda: Part(4), 4)
    with model_cache.aside():
        model_cache.get("other's", lambda: Part(4), 4)
    kept = model_cache.get("task's", lambda: Part(4), 4)
    model_cache.get("more", lambda: Part(6), 6)
    assert model_cache.size == 10, "the other's part made room"
    assert model_cache.get("task's", lambda: Part(4), 4) is kept
