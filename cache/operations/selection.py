"""Naming some pairs of a cache: by their numbers, or by what samples.parquet says of them."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int

from cache.errors import CacheError
from cache.format.samples import SAMPLES_SCHEMA
from cache.reading.reader import ActivationCache
from cache.shown import shown_text, shown_value

_NAMED_VALUES = 10


class Selection(NamedTuple):
    """Some pairs of a cache.

    Attributes:
        pairs: int64 [selected], ascending, each once.
        description: plain JSON that says how they were selected.
    """

    pairs: Int[np.ndarray, "selected"]
    description: dict[str, Any]


def select_pairs(
    cache: ActivationCache, numbers: str | None, file: Path | None, where: Sequence[str]
) -> Selection:
    """The pairs that meet all conditions; what is None or empty is no condition.

    Args:
        cache: whose pairs they are.
        numbers: see `pairs_of_slice`.
        file: see `pairs_of_file`.
        where: see `pairs_where`.

    Raises:
        CacheError: a condition makes no sense, or no pair meets them all.
    """
    conditions: dict[str, tuple[Int[np.ndarray, "selected"], Any]] = {}
    if numbers is not None:
        conditions["pairs"] = pairs_of_slice(numbers, cache.pairs), numbers
    if file is not None:
        conditions["pairs_file"] = pairs_of_file(file, cache.pairs), file.name
    if where:
        conditions["where"] = pairs_where(cache, where), list(where)
    met_by = [pairs for pairs, _ in conditions.values()]
    selected = functools.reduce(np.intersect1d, met_by, np.arange(cache.pairs))
    description = {name: told for name, (_, told) in conditions.items()}
    if not len(selected):
        raise CacheError(f"{cache}: no pair is selected by {description}")
    return Selection(selected, description)


def pairs_of_slice(text: str, pairs: int) -> Int[np.ndarray, "selected"]:
    """Numbers of the pairs `first:end:step`, as in Python: each part may be left out, `::10` is every tenth.

    Raises:
        CacheError: it is not of that form, or goes backwards.
    """
    try:
        first, end, step = (int(part) if part else None for part in [*text.split(":"), ""][:3])
        if ":" not in text or text.count(":") > 2 or (step is not None and step < 1):
            raise ValueError
    except ValueError:
        raise CacheError(
            f"pairs {text!r}: not FIRST:END or FIRST:END:STEP with a STEP of 1 or more"
        ) from None
    return np.arange(pairs)[first:end:step]


def pairs_of_file(file: Path, pairs: int) -> Int[np.ndarray, "selected"]:
    """Numbers of pairs, one on a line of a text file, in any order; returned ascending.

    Raises:
        CacheError: the file cannot be read, or a line is not the number of a pair, or repeats one; names the line.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise CacheError(f"{file}: cannot be read as a list of pairs ({error})") from None
    seen: dict[int, int] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line:
            continue
        if not line.isdecimal() or int(line) >= pairs:
            raise CacheError(
                f"{file}: line {number}: {shown_value(line)} is not a pair; the cache has 0 to {pairs - 1}"
            )
        if int(line) in seen:
            raise CacheError(f"{file}: line {number}: pair {int(line)} is already on line {seen[int(line)]}")
        seen[int(line)] = number
    return np.array(sorted(seen), np.int64)


def pairs_where(cache: ActivationCache, conditions: Sequence[str]) -> Int[np.ndarray, "selected"]:
    """Numbers of the pairs that meet every condition `COLUMN=VALUE`.

    A column is one of samples.parquet; a list (categories, concepts) meets the condition if it contains the value.

    Raises:
        CacheError: a condition is of another form, names no column or one of objects, or no pair meets it.
    """
    comparable = [field.name for field in SAMPLES_SCHEMA if not _holds_structs(field.type)]
    samples = cache.read_pair_samples(comparable)
    met = np.ones(len(samples), bool)
    for condition in conditions:
        met &= _met(samples, condition)
    return np.flatnonzero(met)


def _met(samples: pa.Table, condition: str) -> Bool[np.ndarray, "row"]:
    name, separator, value = condition.partition("=")
    if not separator or name not in samples.column_names:
        columns = ", ".join(samples.column_names)
        raise CacheError(f"where {condition!r}: not COLUMN=VALUE; the columns are {columns}")
    column = samples[name].combine_chunks()
    is_list = pa.types.is_list(column.type)
    values = pc.list_flatten(column) if is_list else column
    try:
        equal = pc.fill_null(pc.equal(values, pa.scalar(value).cast(values.type)), False)
    except pa.ArrowInvalid:
        raise CacheError(f"where {condition!r}: {shown_value(value)} is not of type {values.type}") from None
    found: Bool[np.ndarray, "value"] = equal.to_numpy(zero_copy_only=False)
    if not found.any():
        known = sorted(map(str, values.unique().drop_null().to_pylist()))
        more = ", ..." if len(known) > _NAMED_VALUES else ""
        named = ", ".join(map(shown_text, known[:_NAMED_VALUES]))
        raise CacheError(f"where {condition!r}: no pair; {name} has {named}{more}")
    if not is_list:
        return found
    met = np.zeros(len(samples), bool)
    met[pc.list_parent_indices(column).to_numpy()[found]] = True
    return met


def _holds_structs(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_struct(kind.value_type))
