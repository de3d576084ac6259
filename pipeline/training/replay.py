"""A training step that is recorded once for each shape of batch and then replayed: on a GPU, one launch a step.

A step is some hundred kernels of a few microseconds each, which a processor launches hardly faster than a GPU runs
them. CUDA can record them as a graph and start all of them at once, on the same memory every time. So batches are
copied into buffers of a few sizes (`Extents.rounded_up`), and there is one graph for each.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.sae.auxiliary import LatentActivity
from pipeline.sae.pairs import Pairs
from pipeline.sparse.availability import triton_reason
from pipeline.training.step import TrainingStep

Work = Callable[[], dict[str, Tensor]]
Recorder = Callable[[Work], Work]
"""Takes down what some work would do, without doing it; the result does it, and returns the same tensors each time."""

_ROWS = 512
_FEWEST_PLACES = 16
_FEWEST_DEAD = 64


class Extents(NamedTuple):
    """Upper bounds of all sizes that a step depends on besides the options.

    With them given, no size depends on what the tensors hold, so that a GPU works through a whole step without being
    asked anything, and one recording of it serves all batches of the same extents.
    """

    text_rows: int
    """Packed rows of text, those that no caption has included."""
    longest_caption: int
    """Places of a caption when it is padded; at least 1."""
    most_dead: tuple[int, ...] = ()
    """Latents that can be dead in this step, for every clock of the dictionary."""

    def rounded_up(self) -> "Extents":
        """Round to one of few: rows to the next 512, captions to a power of two from 16, the dead to one from 64."""
        return Extents(
            -(-self.text_rows // _ROWS) * _ROWS,
            _power_of_two(self.longest_caption, _FEWEST_PLACES),
            tuple(_power_of_two(count, _FEWEST_DEAD) if count else 0 for count in self.most_dead),
        )


def _power_of_two(size: int, least: int) -> int:
    """The smallest power of two that is not below either."""
    return max(least, 1 << (size - 1).bit_length())


class ReplayedStep:
    """`TrainingStep`, of the same results up to the rounding that other sizes of tensors bring.

    The first step of every shape is taken as usual, which compiles its kernels; the second is recorded.
    """

    def __init__(self, step: TrainingStep, record: Recorder) -> None:
        """Replay `step`, as recorded by `record`, which may raise RuntimeError: then it goes on without."""
        self._step = step
        self._clocks = [module for module in step.sae.modules() if isinstance(module, LatentActivity)]
        self._record: Recorder | None = record
        self._buffers: dict[int, Pairs] = {}
        self._works: dict[Extents, Work] = {}
        self._recordings: dict[Extents, Work] = {}

    def __call__(self, pairs: Pairs) -> dict[str, Tensor]:
        """Learn from a batch; all batches have as many pairs and patches.

        Returns:
            As `TrainingStep`; the tensors are overwritten by the next step.
        """
        extents = self.extents(pairs).rounded_up()
        buffer = self._filled(pairs, extents.text_rows)
        if extents in self._recordings:
            return self._recordings[extents]()
        for clock, most_dead in zip(self._clocks, extents.most_dead, strict=True):
            clock.most_dead = most_dead
        if extents not in self._works:
            self._works[extents] = lambda: self._step(
                replace(buffer, longest_caption=extents.longest_caption)
            )
            return self._works[extents]()
        return self._recorded(extents)()

    def extents(self, pairs: Pairs) -> Extents:
        """Find the sizes of a step on this batch; a GPU has to be waited for."""
        asked = [pairs.text_offsets.diff().max(), *(clock.count_dead(len(pairs)) for clock in self._clocks)]
        longest, *most_dead = torch.stack(asked).tolist()  # in one go
        return Extents(len(pairs.text), max(1, longest), tuple(most_dead))

    def _filled(self, pairs: Pairs, text_rows: int) -> Pairs:
        """Copy a batch to the same place in memory as all others of so many rows of text."""
        if text_rows not in self._buffers:
            self._buffers[text_rows] = self._new_buffer(pairs, text_rows)
        buffer = self._buffers[text_rows]
        buffer.vision.copy_(pairs.vision, non_blocking=True)
        buffer.text[: len(pairs.text)].copy_(pairs.text, non_blocking=True)
        buffer.text_offsets.copy_(pairs.text_offsets, non_blocking=True)
        return buffer

    def _new_buffer(self, pairs: Pairs, text_rows: int) -> Pairs:
        first = next(iter(self._buffers.values()), None)
        vision = first.vision if first else torch.empty_like(pairs.vision)
        text = pairs.text.new_zeros(text_rows, pairs.text.shape[1])
        return Pairs(vision, text, torch.empty_like(pairs.text_offsets))

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
    """Say why steps on `device` are not recorded as CUDA graphs, in one line; None if they are."""
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
