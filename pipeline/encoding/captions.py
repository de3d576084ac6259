"""Captions as token ids, and the reasons why some of them cannot be encoded."""

from typing import TYPE_CHECKING, NamedTuple

from jaxtyping import Bool, Int64
from torch import Tensor

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone

_SPECIAL_TOKENS = 2
"""Tokens of a cut caption that may not count as valid: where it starts and where it ends."""


class TokenizedCaptions(NamedTuple):
    """Captions as the backbone reads them, and by position the reason why one of them is not to be used."""

    token_ids: Int64[Tensor, "caption context"]
    valid: Bool[Tensor, "caption context"]
    unusable: dict[int, str]


def tokenize_captions(texts: list[str], backbone: "Backbone") -> TokenizedCaptions:
    """Tokenize captions; those without words, or with more than the context holds, get a reason.

    A tokenizer serves one thread at a time: no other may use the backbone's meanwhile.
    """
    token_ids, valid = backbone.tokenize(texts)
    context = backbone.context_length
    unusable, suspects = {}, []
    for position, (text, length) in enumerate(zip(texts, valid.sum(dim=1).tolist(), strict=True)):
        if not text.strip() or length == 0:
            unusable[position] = "empty caption"
        elif length >= context - _SPECIAL_TOKENS:
            suspects.append(position)
    counts = backbone.count_tokens([texts[position] for position in suspects])
    for position, count in zip(suspects, counts, strict=True):
        if count > context:
            unusable[position] = f"caption too long: {count} tokens, the context holds {context}"
    return TokenizedCaptions(token_ids, valid, unusable)
