"""The backbone's tokenizer, by one interface for the two kinds that open_clip has."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

import open_clip
import torch
from jaxtyping import Bool, Int64
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor

from pipeline.errors import BackboneError


class CaptionTokenizer(ABC):
    """Turns captions into token ids, and tells which ids are words and how they are spelled."""

    def __init__(self, tokenizer: HFTokenizer | SimpleTokenizer, context_length: int) -> None:
        self._open_clip = tokenizer
        self._context_length = context_length

    def tokenize(
        self, texts: list[str]
    ) -> tuple[Int64[Tensor, "caption context"], Bool[Tensor, "caption context"]]:
        """Token ids, cut and padded to the context length, and which of them are not padding."""
        if not texts:
            empty = torch.zeros(0, self._context_length, dtype=torch.int64)
            return empty, empty.bool()
        ids = self._open_clip(texts, context_length=self._context_length)
        return ids, self._valid(ids)

    @property
    def vocabulary_size(self) -> int:
        """Number of distinct tokens."""
        return len(self._spellings())

    @property
    def sha256(self) -> str:
        """SHA-256 of all tokens' spellings in the order of their ids."""
        pieces = sorted(self._spellings().items(), key=lambda entry: entry[1])
        return hashlib.sha256("\n".join(piece for piece, _ in pieces).encode()).hexdigest()

    @abstractmethod
    def count_tokens(self, texts: list[str]) -> list[int]:
        """Tokens of each text before any are cut, special tokens included."""

    @abstractmethod
    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """What each id stands for, as the tokenizer spells it, with its marks of where words begin or end."""

    @abstractmethod
    def _valid(self, ids: Int64[Tensor, "caption context"]) -> Bool[Tensor, "caption context"]: ...

    @abstractmethod
    def _spellings(self) -> dict[str, int]: ...


class HuggingFaceTokenizer(CaptionTokenizer):
    """A tokenizer of the `transformers` library, as SigLIP's. Where the end token pads, valid tokens are words."""

    def count_tokens(self, texts: list[str]) -> list[int]:
        """As in the base class."""
        if not texts:
            return []
        cleaned = [self._open_clip.clean_fn(text) for text in texts]
        return [len(ids) for ids in self._open_clip.tokenizer(cleaned, verbose=False).input_ids]

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """As in the base class."""
        pieces: list[str] = self._open_clip.tokenizer.convert_ids_to_tokens(list(token_ids))
        return pieces

    def _valid(self, ids: Int64[Tensor, "caption context"]) -> Bool[Tensor, "caption context"]:
        valid: Tensor = ids != self._open_clip.tokenizer.pad_token_id
        return valid

    def _spellings(self) -> dict[str, int]:
        vocabulary: dict[str, int] = self._open_clip.tokenizer.get_vocab()
        return vocabulary


class ClipTokenizer(CaptionTokenizer):
    """CLIP's own byte-pair encoding. It pads with the id of "!": only the end token tells where a caption ends."""

    def count_tokens(self, texts: list[str]) -> list[int]:
        """As in the base class."""
        return [len(self._open_clip.encode(text)) + 2 for text in texts]

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """As in the base class."""
        return [self._open_clip.decoder[token_id] for token_id in token_ids]

    def _valid(self, ids: Int64[Tensor, "caption context"]) -> Bool[Tensor, "caption context"]:
        end: Tensor = torch.argmax((ids == self._open_clip.eot_token_id).int(), dim=1, keepdim=True)
        return torch.arange(ids.shape[1]) <= end

    def _spellings(self) -> dict[str, int]:
        spellings: dict[str, int] = self._open_clip.encoder
        return spellings


def load_tokenizer(name: str, context_length: int) -> CaptionTokenizer:
    """The tokenizer of the open_clip model `name`.

    Raises:
        BackboneError: it is not on this machine and cannot be fetched.
    """
    try:
        tokenizer = open_clip.get_tokenizer(name, context_length=context_length)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BackboneError(
            f"backbone.tokenizer: the tokenizer of {name} cannot be loaded ({reason}); name a model whose tokenizer is "
            "on this machine, such as local-dir:models/tiny-siglip"
        ) from error
    kind = HuggingFaceTokenizer if isinstance(tokenizer, HFTokenizer) else ClipTokenizer
    return kind(tokenizer, context_length)
