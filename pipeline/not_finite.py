"""Numbers that are not finite are refused before anything is measured with them."""

import torch
from torch import Tensor, nn

from pipeline.errors import RunError


def refuse_not_finite(what: str, values: Tensor) -> None:
    """Check that every number is finite: sorted, compared or counted, a NaN gives figures that look like any other.

    Args:
        what: What the numbers are, as the message calls them.
        values: Any shape and dtype.

    Raises:
        RunError: one is NaN or infinite.
    """
    if not torch.isfinite(values).all():
        raise RunError(
            f"{what} are not all finite (NaN or infinite), so nothing can be measured with them; encode with "
            "backbone.precision fp32, or train with a lower train.learning_rate"
        )


def refuse_weights_not_finite(dictionary: nn.Module) -> None:
    """Likewise for the weights and buffers of a dictionary.

    Raises:
        RunError: one is NaN or infinite.
    """
    for name, tensor in dictionary.state_dict().items():
        refuse_not_finite(f"{name}: the dictionary's weights", tensor)
