"""Why a task failed, in a client's words."""

import errno

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
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full: free some space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "The disk is full: free some space"),
        (OSError(errno.EIO, "Input/output error"), "OSError: [Errno 5] Input/output error"),
        (KeyError("Style"), "KeyError: 'Style'"),
    ],
)
def test_a_failure_is_told_in_words_a_client_can_use(error, text):
    assert reason(error).startswith(text)
