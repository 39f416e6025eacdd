"""Why a task failed, in a client's words."""

import pytest
import torch

from engine.errors import CheckpointError
from engine.process.failures import reason


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "The GPU ran out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "The engine ran out of memory"),
        (CheckpointError("a.safetensors cannot be drawn with"), "a.safetensors cannot be drawn with"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left"),
        (KeyError("Style"), "KeyError: 'Style'"),
    ],
)
def test_a_failure_is_told_in_words_a_client_can_use(error, text):
    assert reason(error).startswith(text)
