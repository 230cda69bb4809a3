"""Runs a network from its ONNX file on this machine's processor, without torch: onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

FATAL_ONLY = 4
"""onnxruntime's severity from which it writes to stderr; what it raises is told by whoever asked."""


class ProcessorNetwork:
    """A network with one input and one output, each with a batch axis first. Not to be copied into another process."""

    def __init__(self, path: Path, threads: int) -> None:
        """Load the file for `threads` threads. Raises what onnxruntime raises."""
        onnxruntime.disable_telemetry_events()  # Windows builds would write them to the system's trace
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = FATAL_ONLY
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the output for a batch, (N, ...) float32."""
        return np.asarray(self._session.run(None, {self._input: batch})[0], dtype=np.float32)
