"""The optimizers: Muon for the towers' weight matrices, AdamW for everything else."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer


def build_optimizers(
    model: nn.Module, objective: nn.Module, learning_rate: float, weight_decay: float
) -> list[Optimizer]:
    """Build Muon (orthogonalised momentum) for the transformer blocks' matrices, AdamW for the rest.

    Muon's step is scaled to AdamW's root mean square, so both share one learning rate. Only matrices decay.
    """
    blocks, matrices, vectors = [], [], []
    for name, parameter in (*model.named_parameters(), *objective.named_parameters()):
        if "resblocks" in name and parameter.ndim == 2:
            blocks.append(parameter)
        elif parameter.ndim >= 2 and "embedding" not in name:
            matrices.append(parameter)
        else:
            vectors.append(parameter)
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [
        Muon(blocks, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
        AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), fused=True),
    ]


def scheduled(step: int, points: Sequence[tuple[int, float]]) -> float:
    """Interpolate the learning rate's factor at that step, linearly between the (step, factor) points."""
    steps, factors = zip(*points, strict=True)
    return float(np.interp(step, steps, factors))


def set_learning_rate(optimizers: list[Optimizer], learning_rate: float) -> None:
    """Set the learning rate of every parameter group."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate


def clip_gradients(optimizers: list[Optimizer], norm: float) -> float:
    """Clip all gradients together to that norm; returns the norm before."""
    parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    return float(torch.nn.utils.clip_grad_norm_(parameters, norm))
