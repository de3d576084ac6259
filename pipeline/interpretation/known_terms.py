"""Which terms of a concept list the backbone's tokenizer can spell."""

from typing import TYPE_CHECKING

from pipeline.errors import ConfigError
from pipeline.interpretation.concept_list import ConceptList

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone

_UNKNOWN = {"<unk>", "[UNK]"}
"""How tokenizers spell the token that stands for all words they do not know. Byte-level ones have none."""


def split_by_tokenizer(
    concept_list: ConceptList, backbone: "Backbone"
) -> tuple[ConceptList, tuple[str, ...]]:
    """The list without the terms that the tokenizer does not know, and those terms.

    A term with an unknown word in it, or with no word at all, has a code, but that of "unknown": it would name latents
    after a meaning that the backbone never saw. It is left out and counts neither as a concept nor in the IDF.

    Raises:
        ConfigError: no term is left.
    """
    terms = concept_list.terms
    token_ids, valid = backbone.tokenize(list(terms))
    spelled = [set(backbone.token_texts(ids[mask])) for ids, mask in zip(token_ids, valid, strict=True)]
    known = tuple(
        term for term, tokens in zip(terms, spelled, strict=True) if tokens and not tokens & _UNKNOWN
    )
    if not known:
        raise ConfigError(
            f"concept list {concept_list.name}: the backbone's tokenizer knows none of its {len(terms)} terms; "
            "choose a list in words that the backbone was trained on"
        )
    kept = set(known)
    return concept_list.restricted_to(known), tuple(term for term in terms if term not in kept)
