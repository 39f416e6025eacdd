"""CUDA graphs of the loss and its gradients: one launch in place of about two thousand, checked against eager once."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

log = logging.getLogger("training")
Work = Callable[[dict[str, Tensor]], Tensor]


class Graphs:
    """Captured work by key; a key is captured after it ran eagerly a few times. Any trouble ends capturing for good."""

    def __init__(self, gradients: list[Tensor], enabled: bool, warm: int = 30) -> None:
        self.gradients, self.enabled, self.warm = gradients, enabled, warm
        self.seen: dict[tuple, int] = {}
        self.ready: dict[tuple, tuple[torch.cuda.CUDAGraph, dict[str, Tensor], Tensor]] = {}
        self.pool = torch.cuda.graph_pool_handle() if enabled else None

    def run(self, key: tuple, inputs: dict[str, Tensor], work: Work) -> Tensor:
        """The loss of `work(inputs)`, which also fills the gradients; replayed where it could be captured."""
        if self.enabled and key in self.ready:
            graph, held, loss = self.ready[key]
            for name, value in inputs.items():
                held[name].copy_(value)
            graph.replay()
            return loss.clone()
        self.seen[key] = self.seen.get(key, 0) + 1
        loss = work(inputs)
        if self.enabled and self.seen[key] == self.warm:
            self.capture(key, inputs, work, loss)
        return loss

    def capture(self, key: tuple, inputs: dict[str, Tensor], work: Work, expected: Tensor) -> None:
        """Record the work, replay it and compare with the eager result just computed from the same inputs."""
        norm = torch.nn.utils.get_total_norm(self.gradients)
        try:
            held, graph = {name: value.clone() for name, value in inputs.items()}, torch.cuda.CUDAGraph()
            torch.cuda.synchronize()
            with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
                loss = work(held)
            for gradient in self.gradients:
                gradient.zero_()
            graph.replay()
            again = torch.nn.utils.get_total_norm(self.gradients)
            off = [float((a - b).abs() / b.abs().clamp_min(1e-9)) for a, b in ((loss, expected), (again, norm))]
            if not max(off) < 0.05:
                raise RuntimeError(f"the replay is off by {off[0]:.3f} (loss) and {off[1]:.3f} (gradient)")
            self.ready[key] = graph, held, loss
            log.info("captured %s (off by %.4f, %.4f)", key, *off)
        except Exception:
            log.exception("CAPTURE FAILED; every step is eager from here on")
            self.enabled = False
            self.ready.clear()
            work(inputs)
