"""One training step of the public Top-K SAEs, each behind a function that returns a `step()`.

Each step is the library's own: its SAE, its loss, what its trainer does in every step, at its defaults, on the CPU.
Where the user brings the optimiser, it is AdamW, fused as ours is; the others make an Adam of their own. None of
the peers has dead latents here, so their care for them, where it is on by default, costs next to nothing.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

LEARNING_RATE = 3e-4

Step = Callable[[], object]
"""Does one whole training step on the tokens that it was made for."""


class Peer(NamedTuple):
    """A library to compare with."""

    distribution: str
    """Its name in the package index."""
    make_step: Callable[[Float[Tensor, "token channel"], int, int], Step]
    """Of tokens, number of latents and k."""


def overcomplete_step(tokens: Float[Tensor, "token channel"], latents: int, k: int) -> Step:
    """`overcomplete.sae.train_sae` on one batch."""
    import matplotlib  # noqa: PLC0415
    from matplotlib import pyplot  # noqa: PLC0415

    if not hasattr(matplotlib.cm, "get_cmap"):  # overcomplete 0.3 draws with it, though not here
        matplotlib.cm.get_cmap = pyplot.get_cmap
    from overcomplete.sae import TopKSAE, train_sae  # noqa: PLC0415

    def criterion(x: Tensor, x_hat: Tensor, *_: Tensor) -> Tensor:
        return (x - x_hat).square().mean()

    sae = TopKSAE(tokens.shape[1], nb_concepts=latents, top_k=k)
    optimizer = _adamw(sae)
    return lambda: train_sae(sae, [tokens], criterion, optimizer, nb_epochs=1, monitoring=0)


def sparsify_step(tokens: Float[Tensor, "token channel"], latents: int, k: int) -> Step:
    """What `sparsify.Trainer` does with a batch of activations; the trainer itself wants a language model."""
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # read at import; its kernel refuses tensors on a CPU
    from sparsify import SparseCoder, SparseCoderConfig  # noqa: PLC0415

    sae = SparseCoder(tokens.shape[1], SparseCoderConfig(num_latents=latents, k=k))
    optimizer = _adamw(sae)
    did_fire = torch.zeros(latents, dtype=torch.bool)

    def step() -> None:
        sae.set_decoder_norm_to_unit_norm()
        out = sae(tokens)
        did_fire[out.latent_indices.flatten()] = True
        out.fvu.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()

    return step


def dictionary_learning_step(tokens: Float[Tensor, "token channel"], latents: int, k: int) -> Step:
    """`dictionary_learning.trainers.TopKTrainer.update`, after its first step."""
    from dictionary_learning.trainers import TopKTrainer  # noqa: PLC0415

    trainer = TopKTrainer(
        steps=10_000,
        activation_dim=tokens.shape[1],
        dict_size=latents,
        k=k,
        layer=0,
        lm_name="none",
        lr=LEARNING_RATE,
        device="cpu",
    )
    return lambda: trainer.update(1, tokens)


def sae_lens_step(tokens: Float[Tensor, "token channel"], latents: int, k: int) -> Step:
    """`sae_lens` `SAETrainer.step`."""
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig  # noqa: PLC0415
    from sae_lens.config import SAETrainerConfig  # noqa: PLC0415
    from sae_lens.training.sae_trainer import SAETrainer  # noqa: PLC0415

    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=tokens.shape[1], d_sae=latents, k=k))
    options = SAETrainerConfig(
        total_training_samples=10_000 * len(tokens),
        train_batch_size_samples=len(tokens),
        lr=LEARNING_RATE,
        lr_end=LEARNING_RATE,
    )
    trainer = SAETrainer(options, sae, data_provider=iter(()))
    return lambda: trainer.step(tokens)


PEERS: Mapping[str, Peer] = {
    "overcomplete": Peer("overcomplete", overcomplete_step),
    "sparsify": Peer("eai-sparsify", sparsify_step),
    "dictionary_learning": Peer("dictionary-learning", dictionary_learning_step),
    "SAELens": Peer("sae-lens", sae_lens_step),
}


def _adamw(module: Any) -> torch.optim.AdamW:
    return torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE, fused=True)
