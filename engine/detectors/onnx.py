"""ONNX files, run by onnxruntime: deterministic, on as many threads as torch has."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import CheckpointError
from engine.files import detect

if TYPE_CHECKING:
    import onnxruntime

log = logging.getLogger(__name__)

ERRORS_ONLY = 3


class OnnxModel:
    """A network of one input, of which the first output counts."""

    def __init__(self, session: onnxruntime.InferenceSession, size: int) -> None:
        self.session, self.size = session, size
        self.input = session.get_inputs()[0]

    @classmethod
    def load(cls, path: Path, device: torch.device) -> OnnxModel:
        """The network in `path`, on the GPU where `device` is one and onnxruntime can use it.

        Raises:
            CheckpointError: the file is not there or is no network.
        """
        if not path.is_file():
            raise CheckpointError(f"{path.name}: there is no such file")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.use_deterministic_compute = True
        options.log_severity_level = ERRORS_ONLY
        try:
            session = onnxruntime.InferenceSession(path, options, providers=providers(device))
        except Exception as error:  # onnxruntime has a class for each kind of failure, without a common one
            log.info("%s cannot be read", path, exc_info=error)
            reason = detect.unusable(path) or "damaged, or of another kind; fetch it again"
            raise CheckpointError(f"{path.name}: not a readable ONNX file: it is {reason}") from error
        return cls(session, path.stat().st_size)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The first output for this input.

        Raises:
            CheckpointError: the network takes inputs of another shape.
        """
        from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

        try:
            return self.session.run(None, {self.input.name: batch})[0]
        except InvalidArgument as error:
            log.info("the ONNX file takes another input", exc_info=error)
            raise CheckpointError(f"the ONNX file takes no input of {list(batch.shape)}") from error


def providers(device: torch.device) -> list[str]:
    """What onnxruntime computes with, the best first."""
    import onnxruntime

    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    there = onnxruntime.get_available_providers()
    return [name for name in wanted if name in there] + ["CPUExecutionProvider"]
