"""VL-SAE's auxiliary autoencoder: brings both sides of an implicitly aligned model into one space, and back.

"VL-SAE: Interpreting and Enhancing Vision-Language Alignment with a Unified Concept Set" (arXiv 2510.21323). A
vision-language decoder (LLaVA) has no embeddings that are trained to agree, as CLIP's are; VL-SAE is trained on these.
"""

import json
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cache import shown_text
from pipeline.errors import ConfigError, RunError
from pipeline.progress import Advance
from pipeline.runs.seal import check_seal
from pipeline.runs.tensor_file import read_header, read_tensors, write_tensors
from pipeline.sae.losses import Losses, mean_squared_error, weighted_sum
from pipeline.sae.sides import SIDES, Side
from pipeline.sae.vl_sae.options import AuxiliaryAutoencoderOptions, Similarity


class AuxiliaryAutoencoder(nn.Module):
    """Per side an affine encoder and an affine decoder, both from `channels` to `channels`."""

    def __init__(self, options: AuxiliaryAutoencoderOptions, channels: int) -> None:
        """New random weights, drawn from `options.seed` as torch draws a linear layer."""
        super().__init__()
        self.options, self.channels = options, channels
        generator = torch.Generator().manual_seed(options.seed)
        self.encoders = nn.ModuleDict({side: _linear(channels, generator) for side in SIDES})
        self.decoders = nn.ModuleDict({side: _linear(channels, generator) for side in SIDES})

    def encode(self, side: Side, activations: Float[Tensor, "pair channel"]) -> Float[Tensor, "pair channel"]:
        """Bring a side's pooled activations into the space that the sides share; not of unit length."""
        return cast(Tensor, self.encoders[side](activations))

    def decode(self, side: Side, embeddings: Float[Tensor, "pair channel"]) -> Float[Tensor, "pair channel"]:
        """Bring shared embeddings back to a side's activations."""
        return cast(Tensor, self.decoders[side](embeddings))

    def losses(self, vision: Float[Tensor, "pair channel"], text: Float[Tensor, "pair channel"]) -> Losses:
        """Compute `InfoNCE + MSE_v + MSE_t`, element means; terms `contrastive`, `self_vision`, `self_text`."""
        embeddings = {"vision": self.encode("vision", vision), "text": self.encode("text", text)}
        options = self.options
        terms = {
            "contrastive": info_nce(
                embeddings["vision"], embeddings["text"], options.temperature, options.similarity
            ),
            "self_vision": mean_squared_error(self.decode("vision", embeddings["vision"]), vision),
            "self_text": mean_squared_error(self.decode("text", embeddings["text"]), text),
        }
        return weighted_sum(terms, dict.fromkeys(terms, 1.0))


def info_nce(
    vision: Float[Tensor, "pair channel"],
    text: Float[Tensor, "pair channel"],
    temperature: float,
    similarity: Similarity = "cosine",
) -> Float[Tensor, ""]:
    """Compute symmetric InfoNCE: how well each row finds its own pair among all of the other side, mean of both ways.

    `-1/2 mean_i (log softmax_j(s_ij / t)_i + log softmax_j(s_ji / t)_i)`, as in CLIP (arXiv 2103.00020). A zero row has
    cosine 0 with all.
    """
    if similarity == "cosine":
        vision, text = F.normalize(vision, dim=1), F.normalize(text, dim=1)
    scores = vision @ text.T / temperature
    own = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def train_auxiliary_autoencoder(
    vision: Float[Tensor, "image vision_channel"],
    text: Float[Tensor, "caption text_channel"],
    options: AuxiliaryAutoencoderOptions,
    advance: Advance = lambda done, total: None,
) -> AuxiliaryAutoencoder:
    """Train on the two sides' pooled activations, rows of a pair at the same place; the same result every time.

    `vision/pooled` and `text/pooled` of an activation cache are such arrays, and so are the mean states of a
    vision-language decoder. Each epoch draws its batches anew; an incomplete last one is left out.

    Args:
        vision, text: float32, on the device to train on; kept there as a whole.
        options: see `AuxiliaryAutoencoderOptions`.
        advance: receives (epochs done, epochs in all).

    Raises:
        ConfigError: the sides differ in shape, there are fewer than two pairs, or the loss is not finite.
    """
    if vision.shape != text.shape or vision.ndim != 2 or len(vision) < 2:
        raise ConfigError(
            f"activations of {list(vision.shape)} (vision) and {list(text.shape)} (text): both must be "
            "[pair, channel], alike and of at least 2 pairs"
        )
    autoencoder = AuxiliaryAutoencoder(options, vision.shape[1]).to(vision.device)
    optimizer = torch.optim.AdamW(
        autoencoder.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
    )
    generator = torch.Generator().manual_seed(options.seed)
    size = min(options.batch_pairs, len(vision))
    for epoch in range(options.epochs):
        order = torch.randperm(len(vision), generator=generator)
        for rows in order[: len(order) // size * size].view(-1, size).to(vision.device):
            losses = autoencoder.losses(vision[rows], text[rows])
            if not losses.total.isfinite():
                raise ConfigError(
                    f"auxiliary autoencoder: the loss is not finite in epoch {epoch}; {_REMEDY}"
                )
            optimizer.zero_grad(set_to_none=True)
            losses.total.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        advance(epoch + 1, options.epochs)
    return autoencoder.eval().requires_grad_(False)


def save_auxiliary_autoencoder(autoencoder: AuxiliaryAutoencoder, path: Path) -> None:
    """Write weights, and options as JSON in the header, to one safetensors file with a checksum of itself.

    Raises:
        RunError: the file cannot be written.
    """
    config = {"options": autoencoder.options.model_dump(mode="json"), "channels": autoencoder.channels}
    write_tensors(path, autoencoder.state_dict(), {"config": json.dumps(config)})


def load_auxiliary_autoencoder(path: Path) -> AuxiliaryAutoencoder:
    """Load what `save_auxiliary_autoencoder` wrote, frozen and on the CPU.

    Raises:
        RunError: the file is missing, is not a saved auxiliary autoencoder, or is not what was written.
    """
    if not path.is_file():
        raise RunError(f"{path}: no such file; train the auxiliary autoencoder first")
    state, texts = read_tensors(path, _RETRAIN), read_header(path, _RETRAIN).texts
    try:
        config = json.loads(texts["config"])
        options = AuxiliaryAutoencoderOptions.model_validate(config["options"])
        with torch.device("meta"):
            autoencoder = AuxiliaryAutoencoder(options, config["channels"])
        autoencoder.load_state_dict(state, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(
            f"{path}: not a saved auxiliary autoencoder ({shown_text(error)}); {_RETRAIN}"
        ) from None
    check_seal(path, _RETRAIN)
    return autoencoder.eval().requires_grad_(False)


_RETRAIN = "train it again"
_REMEDY = "lower auxiliary.learning_rate, or look for values that are not finite in the activations"


def _linear(channels: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.Linear(channels, channels)
    bound = channels**-0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
