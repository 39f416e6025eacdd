"""A text encoder's calls: eager once, then recorded, then replayed, as long as its weights lie where they lay."""

from threading import Thread

import pytest
import torch

from engine.gpu.capabilities import Features
from engine.models.recorded_texts import MOST_ROWS, RecordedTexts

IDS = torch.arange(6)[None]


class Table(torch.nn.Module):
    """An encoder of one table, which counts its calls."""

    def __init__(self):
        super().__init__()
        self.table, self.calls = torch.nn.Embedding(8, 3), 0

    def forward(self, input_ids):
        self.calls += 1
        return self.table(input_ids)


class Kept:
    """A recorded call without a GPU."""

    def __init__(self, call, ids):
        self.call, self.replays = call, 0
        call(ids)

    def replay(self, ids):
        self.replays += 1
        return self.call(ids)


@pytest.fixture
def texts(monkeypatch):
    features = Features.for_device(torch.device("cpu"))
    monkeypatch.setattr(Features, "for_device", lambda device: type("Graphs", (), {**vars(features), "graphs": True})())
    made = []
    recorded = RecordedTexts(Table(), lambda *given: made.append(Kept(*given)) or made[-1])
    recorded.made = made
    return recorded


@torch.inference_mode()
def test_a_call_is_eager_once_then_recorded_then_replayed(texts):
    wanted = texts.module.table(IDS)
    for replays in (0, 1, 2):
        assert torch.equal(texts(IDS), wanted)
        assert sum(kept.replays for kept in texts.made) == replays
    assert len(texts.made) == 1
    texts(IDS.repeat(MOST_ROWS, 1)), texts(IDS.repeat(MOST_ROWS, 1))
    assert len(texts.made) == 2


@torch.inference_mode()
def test_another_thread_runs_a_call_once_before_it_is_recorded(texts):
    texts(IDS)
    thread = Thread(target=torch.inference_mode()(lambda: texts(IDS)))
    thread.start(), thread.join()
    assert texts.module.calls == 4  # each thread's own, the recording, its replay


@torch.inference_mode()
def test_many_rows_are_never_recorded_and_moved_weights_are_recorded_anew(texts):
    for _ in range(3):
        texts(IDS.repeat(MOST_ROWS + 1, 1))
    assert texts.made == []
    texts(IDS), texts(IDS)
    texts.module.table.weight.data = texts.module.table.weight.data.clone()
    texts(IDS)
    assert [kept.replays for kept in texts.made] == [1]
    texts.module.table.weight.weight_group = object()
    texts(IDS), texts(IDS)
    assert len(texts.made) == 1
