"""Which terms of a concept list the backbone's tokenizer can spell, and can tell from each other."""

from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import ConfigError
from pipeline.interpretation.concept_list import ConceptList

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone


class KnownTerms(NamedTuple):
    """A concept list as a tokenizer reads it.

    Attributes:
        concepts: the list with the terms that name latents: known, and each of other tokens than those before it.
        unknown: terms left out for a word that the tokenizer does not know.
        repeated: terms left out for being the same tokens as an earlier one, with that one.
    """

    concepts: ConceptList
    unknown: tuple[str, ...]
    repeated: dict[str, str]


def split_by_tokenizer(concept_list: ConceptList, backbone: "Backbone", prompt: str) -> KnownTerms:
    """Leave out terms that have no meaning of their own to the backbone.

    A term with an unknown word in it, or with no word at all, has a code, but that of "unknown": it would name latents
    after a meaning that the backbone never saw. Two terms of the same tokens ("cafe" and "Cafe" where case is dropped,
    long terms that differ where the context ends) have one code, and every hit would count twice. What is left out
    counts neither as a concept nor in the IDF.

    Args:
        concept_list: The list.
        backbone: Its tokenizer reads the terms.
        prompt: Text with `{term}` in it, in which a term is encoded.

    Raises:
        ConfigError: no term is left, or the prompt leaves no room for any.
    """
    terms = concept_list.terms
    token_ids, valid = backbone.tokenize(list(terms))
    spellings = [backbone.spelling(ids[mask]) for ids, mask in zip(token_ids, valid, strict=True)]
    known = [
        term
        for term, spelling in zip(terms, spellings, strict=True)
        if spelling.text.strip() and not spelling.unknown
    ]
    if not known:
        raise ConfigError(
            f"concept list {concept_list.name}: the backbone's tokenizer knows none of its {len(terms)} terms; "
            "choose a list in words that the backbone was trained on"
        )
    kept, repeated = _told_apart(known, backbone, prompt)
    if len(kept) == 1 and repeated:
        raise ConfigError(
            f"interpret.prompt: in {prompt!r} all {len(known)} terms of the concept list {concept_list.name} become "
            f"the same tokens, since the backbone reads no more than {backbone.context_length}; shorten it"
        )
    unknown = tuple(term for term in terms if term not in set(known))
    return KnownTerms(concept_list.restricted_to(tuple(kept)), unknown, repeated)


def _told_apart(terms: list[str], backbone: "Backbone", prompt: str) -> tuple[list[str], dict[str, str]]:
    """The first term of every sequence of tokens, and the others with the one before them."""
    token_ids, valid = backbone.tokenize([prompt.replace("{term}", term) for term in terms])
    first: dict[tuple[int, ...], str] = {}
    repeated = {}
    for term, ids, mask in zip(terms, token_ids, valid, strict=True):
        same = first.setdefault(tuple(ids[mask].tolist()), term)
        if same != term:
            repeated[term] = same
    return list(first.values()), repeated
