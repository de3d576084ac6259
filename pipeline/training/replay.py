"""A training step that is recorded once for each shape of batch and then replayed: on a GPU, one launch a step.

A step is some hundred kernels of a few microseconds each, which a processor launches hardly faster than a GPU runs
them. CUDA can record them as a graph and start all of them at once, on the same memory every time. So batches are
copied into buffers of a few sizes (`Extents.rounded_up`), and there is one graph for each.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from cache import PairBatch
from pipeline.sae.extents import Extents
from pipeline.sae.inputs import select_inputs
from pipeline.sparse.availability import triton_reason
from pipeline.training.step import TrainingStep

_LEARNED_FROM = ("vision_tokens", "text_tokens", "text_offsets", "vision_pooled", "text_pooled")

Work = Callable[[], dict[str, Tensor]]
Record = Callable[[Work], Work]
"""Takes down what some work would do, without doing it; the result does it, and returns the same tensors each time."""


class ReplayedStep:
    """`TrainingStep`, of the same results up to the rounding that other sizes of tensors bring.

    The first step of every shape is taken as usual, which compiles its kernels; the second is recorded.
    """

    def __init__(self, step: TrainingStep, record: Record) -> None:
        """Replay `step`, as recorded by `record`, which may raise RuntimeError: then it goes on without."""
        self._step = step
        self._record: Record | None = record
        self._buffers: dict[int, PairBatch] = {}
        self._works: dict[Extents, Work] = {}
        self._recordings: dict[Extents, Work] = {}

    def __call__(self, batch: PairBatch) -> dict[str, Tensor]:
        """Learn from a batch; all batches have as many pairs and patches.

        Returns:
            As `TrainingStep`; the tensors are overwritten by the next step.
        """
        sae = self._step.sae
        seen = select_inputs(batch, sae.inputs)
        extents = sae.extents(seen).rounded_up()
        buffer = self._filled(seen, extents.text_rows)
        if extents in self._recordings:
            return self._recordings[extents]()
        if extents not in self._works:
            self._works[extents] = lambda: self._step(buffer, extents)
            return self._works[extents]()
        return self._recorded(extents)()

    def _filled(self, batch: PairBatch, text_rows: int) -> PairBatch:
        """A batch at the same place in memory as all others of so many rows of text."""
        if text_rows not in self._buffers:
            self._buffers[text_rows] = self._new_buffer(batch, text_rows)
        buffer = self._buffers[text_rows]
        for name in _LEARNED_FROM:
            source = getattr(batch, name)
            getattr(buffer, name)[: len(source)].copy_(source, non_blocking=True)
        return buffer

    def _new_buffer(self, batch: PairBatch, text_rows: int) -> PairBatch:
        first = next(iter(self._buffers.values()), batch)
        buffer = {name: torch.empty_like(getattr(batch, name)) for name in _LEARNED_FROM}
        buffer["vision_tokens"] = buffer["vision_tokens"] if first is batch else first.vision_tokens
        buffer["text_tokens"] = batch.text_tokens.new_zeros(text_rows, batch.text_tokens.shape[1])
        return batch._replace(**buffer)

    def _recorded(self, extents: Extents) -> Work:
        work = self._works[extents]
        if self._record is None:
            return work
        try:
            self._recordings[extents] = self._record(work)
        except RuntimeError as error:
            self._record = None
            reason = str(error).splitlines()[0]
            warnings.warn(f"training steps are not recorded ({reason}); they are only slower", stacklevel=4)
            return work
        return self._recordings[extents]


def replay_reason(device: torch.device) -> str | None:
    """Why steps on `device` are not recorded as CUDA graphs, in one line; None if they are."""
    if device.type != "cuda":
        return f"the device is {device.type!r}, where there are no graphs"
    reason = triton_reason(device)
    return None if reason is None else f"the eager operations wait for the GPU ({reason})"


class CudaGraphs:
    """Records work as CUDA graphs that share one pool of memory, as only one of them runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> Work:
        """Record `work`.

        Raises:
            RuntimeError: CUDA cannot record it, for example because it waits for the GPU.
        """
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            result = work()

        def replay() -> dict[str, Tensor]:
            graph.replay()
            return result

        return replay
