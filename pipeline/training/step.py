"""One step of training: losses, their gradients, AdamW, and the care for weights."""

import torch
from torch import Tensor, nn

from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.pairs import Pairs
from pipeline.training.held_decoder import HeldDecoder
from pipeline.training.options import TrainOptions


class TrainingStep:
    """What training does with every batch; also what the benchmarks time.

    Attributes:
        sae: the dictionary that is trained, in place.
        held: what holds its decoder, if the options ask for it.
        optimizer: AdamW. Its learning rate is a tensor, which a recording of the step reads anew in every replay.
    """

    def __init__(self, sae: SparseAutoencoder, options: TrainOptions) -> None:
        self.sae = sae
        cosine = options.decoder_cosine
        self.held = None if cosine is None else HeldDecoder(sae, cosine)
        self.optimizer = _optimizer(sae, options)
        self._clip_norm = options.clip_norm
        self._halved = options.precision == "bfloat16"

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate of the steps that follow."""
        for group in self.optimizer.param_groups:
            group["lr"].fill_(learning_rate)

    def __call__(self, pairs: Pairs) -> dict[str, Tensor]:
        """Learn from a batch.

        Returns:
            The loss, "total", and its terms before their weights; detached scalars on the device.
        """
        with torch.autocast(pairs.vision.device.type, torch.bfloat16, enabled=self._halved):
            losses = self.sae.losses(pairs)
        self.optimizer.zero_grad()
        losses.total.backward()  # type: ignore[no-untyped-call]
        self.sae.after_backward()
        if self.held:
            self.held.after_backward()
        nn.utils.clip_grad_norm_(self.sae.parameters(), self._clip_norm)
        self.optimizer.step()
        self.sae.after_step()
        if self.held:
            self.held.after_step()
        return {"total": losses.total.detach(), **losses.terms}


def _optimizer(sae: SparseAutoencoder, options: TrainOptions) -> torch.optim.AdamW:
    matrices = [parameter for parameter in sae.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in sae.parameters() if parameter.ndim <= 1]
    device = matrices[0].device
    groups = [
        {
            "params": parameters,
            "weight_decay": decay,
            "lr": torch.tensor(options.learning_rate, device=device),
        }
        for parameters, decay in ((matrices, options.weight_decay), (vectors, 0.0))
    ]
    return torch.optim.AdamW(groups, fused=True, capturable=device.type == "cuda")
