"""A model that is ready to be timed: on its device, in its type of numbers, in the memory layout that is faster."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.contestants import Contestant
from benchmarks.peak import count_macs, parameters
from benchmarks.side_by_side import seconds_of

LAYOUTS = ("channels_last", "contiguous_format")


@dataclass(frozen=True)
class Ready:
    """A model, and what it takes.

    Attributes:
        layout: the one of LAYOUTS in which it answers faster with one scan.
        macs: multiply-accumulates a scan.
    """

    contestant: Contestant
    model: nn.Module
    device: torch.device
    dtype: torch.dtype
    layout: str
    macs: int

    @classmethod
    def of(cls, contestant: Contestant, device: torch.device, dtype: torch.dtype) -> "Ready":
        model = contestant.build()
        macs = count_macs(model, torch.randn(1, *contestant.shape))
        model = model.to(device, dtype)
        candidates = [cls(contestant, model, device, dtype, layout, macs) for layout in LAYOUTS]
        best = min(candidates, key=lambda c: c._try())
        model.to(memory_format=getattr(torch, best.layout))
        return best

    def _try(self) -> float:
        """Seconds of the fastest of three runs, after two that warm up."""
        self.model.to(memory_format=getattr(torch, self.layout))
        run = self.forward(1)
        return min([seconds_of(run) for _ in range(5)][2:])

    def input(self, batch: int) -> torch.Tensor:
        """(batch, C, H, W)."""
        layout = getattr(torch, self.layout)
        return torch.randn(batch, *self.contestant.shape).to(self.device, self.dtype).contiguous(memory_format=layout)

    def forward(self, batch: int) -> Callable[[], None]:
        """What runs the model once on a batch in memory, and waits for the answer."""
        input = self.input(batch)

        def run() -> None:
            with torch.inference_mode():
                self.model(input)
            wait(self.device)

        return run

    def graph(self, batch: int) -> Callable[[], None]:
        """The same as a CUDA graph: recorded once, then launched as a whole."""
        input, graph, aside = self.input(batch), torch.cuda.CUDAGraph(), torch.cuda.Stream()
        with torch.inference_mode():
            with torch.cuda.stream(aside):  # what is set up in the first runs must not be recorded
                for _ in range(3):
                    self.model(input)
            wait(self.device)
            with torch.cuda.graph(graph):
                self.model(input)

        def run() -> None:
            graph.replay()
            wait(self.device)

        return run

    def about(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.contestant.name,
            "input": self.contestant.shape,
            "parameters": parameters(self.model),
            "macs": self.macs,
            "layout": self.layout,
        }


def wait(device: torch.device) -> None:
    """Until an accelerator has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
