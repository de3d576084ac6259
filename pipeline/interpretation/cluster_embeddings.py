"""Embeddings in which a latent's concepts are clustered: LUCID (arXiv 2602.07311) 3.5.1 stage 3 and A.2."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone

BACKBONE = "backbone"

_LIBRARY = "sentence_transformers."


def cluster_embeddings(
    terms: Sequence[str], encoder: str, backbone: "Backbone", batch_terms: int = 256
) -> Float[Tensor, "term embedding"]:
    """Embed every term by itself, without a prompt, float32 on the CPU.

    The appendix clusters with "the VLM text encoder" and the main text with "sentence-level embeddings"
    **[open]**; the backbone's own encoder is the default, as it needs nothing else.

    Args:
        terms: The concept list.
        encoder: "backbone", or the name or folder of a sentence-transformers model.
        backbone: Encodes the terms if it is the encoder.
        batch_terms: Terms per forward pass.

    Raises:
        ConfigError: the package sentence-transformers is not installed, or has no such model.
    """
    if encoder != BACKBONE:
        return _sentence_embeddings(terms, encoder, batch_terms)
    parts = []
    for start in range(0, len(terms), batch_terms):
        token_ids, _ = backbone.tokenize(list(terms[start : start + batch_terms]))
        parts.append(backbone.encode_texts(token_ids).pooled.float().cpu())
    return torch.cat(parts)


def _sentence_embeddings(terms: Sequence[str], model: str, batch_terms: int) -> Tensor:
    _refuse_own_code(Path(model))
    try:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - optional, and slow to import
    except ModuleNotFoundError:
        raise ConfigError(
            f"interpret.cluster_encoder: {model} needs the package sentence-transformers; "
            f"pip install 'concord-sae[sentences]', or leave it at '{BACKBONE}'"
        ) from None
    try:
        encoder = SentenceTransformer(model, device="cpu", trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"interpret.cluster_encoder: {model} is neither '{BACKBONE}' nor a sentence-transformers model that can be "
            f"loaded ({str(error).splitlines()[0]})"
        ) from None
    embeddings: Tensor = encoder.encode(
        list(terms), batch_size=batch_terms, convert_to_tensor=True, show_progress_bar=False
    )
    return embeddings.float().cpu()


def _refuse_own_code(folder: Path) -> None:
    """Refuse a model whose modules are not the library's: it would import them from the folder, and not ask."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        foreign = [kind for module in modules if not (kind := str(module["type"])).startswith(_LIBRARY)]
    except (OSError, ValueError, TypeError, KeyError):
        return  # no folder, or none that the library can read either
    if foreign:
        raise ConfigError(
            f"interpret.cluster_encoder: {folder / 'modules.json'} names code of the folder's own ({foreign[0]!r}), "
            f"which is never run; choose a model whose modules are all of {_LIBRARY.removesuffix('.')}"
        )
