"""The backbone's tokenizer, by one interface for the two kinds that open_clip has."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Int64
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from tokenizers import Tokenizer, decoders, models
from torch import Tensor

from pipeline.backbone.spelling import Spelling, spell

_LONGEST = 1000
"""Characters of JSON up to which a part of the identity is spelled out."""


class CaptionTokenizer(ABC):
    """Turns captions into token ids, and tells which ids are words and how they are spelled."""

    def __init__(self, tokenizer: HFTokenizer | SimpleTokenizer, context_length: int) -> None:
        self._open_clip = tokenizer
        self._context_length = context_length
        self._written: dict[str, str] = {}

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
        """One more than the largest token id."""
        return 1 + max(self._spellings().values())

    @property
    def identity(self) -> dict[str, Any]:
        """Plain JSON that says exactly how a caption becomes token ids; what is long, by its SHA-256."""
        parts = {
            "context_length": self._context_length,
            "clean": self._open_clip.clean_fn.__name__,
            "unknown_id": self._unknown,
            **self._parts(),
        }
        return {
            name: part if len(text := _json(part)) <= _LONGEST else _sha256(text)
            for name, part in parts.items()
        }

    @abstractmethod
    def count_tokens(self, texts: list[str]) -> list[int]:
        """Tokens of each text before any are cut, special tokens included."""

    def spelling(self, token_ids: Sequence[int]) -> Spelling:
        """How the tokens of one text, without padding, spell it."""
        return spell(token_ids, self._decode, self._special, self._unknown)

    def occurrences(self, token_ids: Sequence[int], terms: Collection[str]) -> list[int]:
        """Positions of the tokens of one text that write any of `terms`, as whole words; sorted.

        A term is looked for as it is given and as the tokenizer writes it: one that drops accents or hyphens has
        dropped them in the text too.
        """
        return self.spelling(token_ids).occurrences({*terms, *map(self._as_written, terms)})

    def _as_written(self, term: str) -> str:
        """What the tokenizer makes of a term; "" where it does not know it, or cannot hold it."""
        if term not in self._written:
            ids, valid = self.tokenize([term])
            spelling = self.spelling(ids[0][valid[0]].tolist())
            whole = self.count_tokens([term])[0] <= self._context_length and not spelling.unknown
            self._written[term] = spelling.text if whole else ""
        return self._written[term]

    @property
    @abstractmethod
    def _special(self) -> Mapping[int, str]:
        """The ids that stand for no text, and their names."""

    @property
    @abstractmethod
    def _unknown(self) -> int | None:
        """The id that stands for all words the tokenizer does not know, if there is one."""

    @abstractmethod
    def _decode(self, token_ids: Sequence[int]) -> str: ...

    @abstractmethod
    def _valid(self, ids: Int64[Tensor, "caption context"]) -> Bool[Tensor, "caption context"]: ...

    @abstractmethod
    def _spellings(self) -> dict[str, int]: ...

    @abstractmethod
    def _parts(self) -> dict[str, Any]:
        """What else decides the ids, as plain JSON."""


class HuggingFaceTokenizer(CaptionTokenizer):
    """A tokenizer of the `transformers` library, as SigLIP's. Where the end token pads, valid tokens are words."""

    def count_tokens(self, texts: list[str]) -> list[int]:
        """As in the base class."""
        if not texts:
            return []
        cleaned = [self._open_clip.clean_fn(text) for text in texts]
        return [len(ids) for ids in self._open_clip.tokenizer(cleaned, verbose=False).input_ids]

    @cached_property
    def _special(self) -> Mapping[int, str]:
        tokenizer = self._open_clip.tokenizer
        ids: list[int] = tokenizer.all_special_ids
        return dict(zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True))

    @cached_property
    def _unknown(self) -> int | None:
        tokenizer = self._open_clip.tokenizer
        marks = {getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "cls", "sep", "pad")}
        unknown: int | None = tokenizer.unk_token_id
        return None if unknown in marks else unknown  # byte-level ones know all words, and name some mark

    @cached_property
    def _decoder(self) -> decoders.Decoder | None:
        return _decoder_of(self._open_clip.tokenizer.backend_tokenizer)

    def _decode(self, token_ids: Sequence[int]) -> str:
        tokenizer = self._open_clip.tokenizer
        if self._decoder is not None:
            undone: str = self._decoder.decode(tokenizer.convert_ids_to_tokens(list(token_ids)))
            return undone
        text: str = tokenizer.backend_tokenizer.decode(list(token_ids), skip_special_tokens=False)
        return text

    def _valid(self, ids: Int64[Tensor, "caption context"]) -> Bool[Tensor, "caption context"]:
        valid: Tensor = ids != self._open_clip.tokenizer.pad_token_id
        return valid

    def _spellings(self) -> dict[str, int]:
        vocabulary: dict[str, int] = self._open_clip.tokenizer.get_vocab()
        return vocabulary

    def _parts(self) -> dict[str, Any]:
        self.tokenize([""])  # sets the sides and lengths that the backend cuts and pads by
        tokenizer = self._open_clip.tokenizer
        special = {
            name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "sep", "cls", "pad")
        }
        return {
            **json.loads(tokenizer.backend_tokenizer.to_str()),
            "mode": self._open_clip.tokenizer_mode,
            "strip_sep_token": self._open_clip.strip_sep_token,
            "split_special_tokens": tokenizer.split_special_tokens,
            "special_ids": special,
        }


class ClipTokenizer(CaptionTokenizer):
    """CLIP's own byte-pair encoding. It pads with the id of "!": only the end token tells where a caption ends."""

    def count_tokens(self, texts: list[str]) -> list[int]:
        """As in the base class."""
        return [len(self._open_clip.encode(text)) + 2 for text in texts]

    @cached_property
    def _special(self) -> Mapping[int, str]:
        return {token_id: self._open_clip.decoder[token_id] for token_id in self._open_clip.all_special_ids}

    @property
    def _unknown(self) -> None:
        return None  # it spells every word by its bytes

    def _decode(self, token_ids: Sequence[int]) -> str:
        text: str = self._open_clip.decode(token_ids)
        return text

    def _valid(self, ids: Int64[Tensor, "caption context"]) -> Bool[Tensor, "caption context"]:
        end: Tensor = torch.argmax((ids == self._open_clip.eot_token_id).int(), dim=1, keepdim=True)
        return torch.arange(ids.shape[1]) <= end

    def _spellings(self) -> dict[str, int]:
        spellings: dict[str, int] = self._open_clip.encoder
        return spellings

    def _parts(self) -> dict[str, Any]:
        merges = sorted(self._open_clip.bpe_ranks, key=self._open_clip.bpe_ranks.__getitem__)
        return {
            "merges": [list(merge) for merge in merges],
            "pattern": self._open_clip.pat.pattern,
            "vocabulary": self._spellings(),
        }


def _decoder_of(backend: Tokenizer) -> decoders.Decoder | None:
    """What undoes the cutting of a tokenizer that names no decoder itself; None where it names one or needs none."""
    if backend.decoder is not None:
        return None
    model = backend.model
    if isinstance(model, models.WordPiece):
        return decoders.WordPiece(model.continuing_subword_prefix, cleanup=False)
    if isinstance(model, models.BPE) and model.end_of_word_suffix:
        return decoders.BPEDecoder(model.end_of_word_suffix)
    cutting = backend.pre_tokenizer.__getstate__() if backend.pre_tokenizer is not None else b""
    if b'"ByteLevel"' in cutting:
        return decoders.ByteLevel()
    return decoders.Metaspace() if b'"Metaspace"' in cutting else None


def _json(part: Any) -> str:
    return json.dumps(part, sort_keys=True)


def _sha256(text: str) -> str:
    return "SHA-256 " + hashlib.sha256(text.encode()).hexdigest()
