"""Why a task failed, in a client's words."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import CheckpointError
from engine.images.outpaint import outpainted
from engine.process.failures import reason


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "The GPU ran out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "The engine ran out of memory"),
        (RuntimeError("can't start new thread"), "The engine ran out of memory"),
        (RuntimeError("could not create a primitive"), "The engine ran out of memory"),
        (RuntimeError("could not create a primitive descriptor for a deconvolution"), "The engine failed in a way"),
        (CheckpointError("a.safetensors cannot be drawn with"), "a.safetensors cannot be drawn with"),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full: free some space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "The disk is full: free some space"),
        (OSError(errno.EIO, "Input/output error", "/srv/x"), "The engine could not read or write a file: Input/output"),
        (KeyError("Style"), "The engine failed in a way that nobody foresaw (KeyError)"),
        (ValueError("mat1 and mat2"), "The engine failed in a way that nobody foresaw (ValueError)"),
    ],
)
def test_a_failure_is_told_in_words_a_client_can_use(error, text):
    assert reason(error).startswith(text) and "/srv" not in reason(error)


@pytest.mark.parametrize(
    ("work", "text"),
    [
        (
            lambda: outpainted(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8), ["up"]),
            "unknown direction up; there are",
        ),
        (lambda: json.loads("{"), "The engine failed in a way that nobody foresaw (JSONDecodeError)"),
        (Path("/nowhere/to/be").read_bytes, "The engine could not read or write a file: No such file or directory"),
    ],
)
def test_texts_of_our_own_are_told_and_those_of_libraries_are_not(work, text):
    with pytest.raises(Exception) as caught:
        work()
    assert reason(caught.value).startswith(text) and "nowhere" not in reason(caught.value)
