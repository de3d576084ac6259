"""Concept lists: the vocabulary in which latents are named.

A list is a UTF-8 text file with one term per line. Empty lines and lines that begin with `#` are skipped.
`term = kind:value` also says which ground-truth concept the term names (`sailboat = noun:boat`), so that names
can be scored where a dataset knows its truth.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from pipeline.errors import ConfigError

EMBEDDED = ("english", "world")


@dataclass(frozen=True)
class ConceptList:
    """Terms in the order of their file.

    Attributes:
        name: what was asked for, an embedded list's name or a path.
        terms: distinct terms, compared without regard to case.
        truth: ground-truth concept ("noun:boat") by term, for the terms that name one.
        sha256: hexadecimal digest of the file's bytes, the list's identity.
    """

    name: str
    terms: tuple[str, ...]
    truth: Mapping[str, str]
    sha256: str

    def restricted_to(self, terms: tuple[str, ...]) -> "ConceptList":
        """The same list with only these of its terms."""
        truth = {term: concept for term, concept in self.truth.items() if term in terms}
        return replace(self, terms=terms, truth=truth)


def load_concept_list(source: str) -> ConceptList:
    """Read the embedded list called `source` ("english", "world"), or else the file at the path `source`.

    Raises:
        ConfigError: the file is missing, not UTF-8, has no term, an empty term or a term twice (line named).
    """
    content = _read(source)
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"concept list {source}: byte {error.start} is not UTF-8; save it as UTF-8"
        ) from None
    terms, truth = _parse(source, lines)
    return ConceptList(source, terms, truth, hashlib.sha256(content).hexdigest())


def _read(source: str) -> bytes:
    if source in EMBEDDED:
        return (resources.files("pipeline.interpretation") / "concepts" / f"{source}.txt").read_bytes()
    path = Path(source)
    if not path.is_file():
        known = ", ".join(EMBEDDED)
        raise ConfigError(f"concept list {source}: no such file, and no embedded list of that name ({known})")
    return path.read_bytes()


def _parse(source: str, lines: list[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    first_line: dict[str, int] = {}
    terms: list[str] = []
    truth: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        written, _, concept = line.partition("=")
        term, concept = " ".join(written.split()), concept.strip()
        if not term:
            raise ConfigError(
                f"concept list {source}, line {number}: no term before '='; write 'term = kind:value'"
            )
        if term.casefold() in first_line:
            earlier = first_line[term.casefold()]
            raise ConfigError(
                f"concept list {source}, line {number}: '{term}' is already on line {earlier}; remove one"
            )
        first_line[term.casefold()] = number
        terms.append(term)
        if concept:
            truth[term] = concept
    if not terms:
        raise ConfigError(f"concept list {source}: no term in it; write one term per line")
    return tuple(terms), truth
