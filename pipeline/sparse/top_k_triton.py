"""The kernels of `top_k`: an exact selection by bisection, one reading of the scores.

Scores are ranked by an int32 key that orders as they do. A program holds one row of one group in registers and
bisects for a key that k scores reach: of random scores about ten counts suffice, since any key between the k-th
and the next will do. Where the k-th ties with the next the bisection ends at exactly their key, and the lowest
columns among them are kept.
"""

# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator, no-untyped-def, no-untyped-call"
# ruff: noqa: N803 - Triton's custom: what a kernel is compiled for is in capitals.
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from pipeline.sparse.availability import LAUNCH_OPTIONS

_LOWEST_KEY = tl.constexpr(-(2**31))
_NAN_KEY = tl.constexpr(2**31 - 2)  # so that one more than the highest key is an int32 too
_HALVINGS_BY_VALUE = tl.constexpr(16)


@triton.jit
def _key_of(score):
    """Orders as the float32 scores do: the two zeros are equal, NaN is above everything, as in `torch.topk`."""
    bits = score.to(tl.int32, bitcast=True)
    key = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return tl.where(score == 0, 0, tl.where(score != score, _NAN_KEY, key))  # noqa: PLR0124


@triton.jit
def _score_of(key):
    """Back from the key; both zeros come out as 0."""
    bits = key ^ ((key >> 31) & 0x7FFFFFFF)
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def _middle(low, high, turn):
    """A key strictly between: midway in value, which suits scores, and later in bits, which ends within 32."""
    by_bits = low + ((high - low) >> 1)
    value = 0.5 * _score_of(low.to(tl.int32)) + 0.5 * _score_of((high - 1).to(tl.int32))
    by_value = _key_of(value).to(tl.int64)
    usable = (by_value > low) & (by_value < high) & (turn < _HALVINGS_BY_VALUE)
    return tl.where(usable, by_value, by_bits)


@triton.jit
def _load_keys(scores, column, width):
    inside = column < width
    score = tl.load(scores + column, inside, 0).to(tl.float32)
    return tl.where(inside, _key_of(score), _LOWEST_KEY)


@triton.jit
def _reaching(key, least):
    return tl.sum((key >= least.to(tl.int32)).to(tl.int32), axis=0)


@triton.jit
def _keep(ranked, key, column, first_column, low, high, number_above, k, above_before, level_before):
    # All that reach `high` are kept, then, in order of columns, as many of the rest that reach `low` as are
    # wanted: equals, unless they are exactly as many. Both are counted in one scan, in a half word each.
    above = key >= high.to(tl.int32)
    level = (key >= low.to(tl.int32)) & (key < high.to(tl.int32))
    counts = tl.cumsum((above.to(tl.int32) << 16) + level.to(tl.int32), axis=0)
    level_place = number_above + level_before + (counts & 0xFFFF)
    place = tl.where(above, above_before + (counts >> 16), level_place) - 1
    # The higher key first and of equals the lower column: one descending order of 64-bit numbers.
    packed = (key.to(tl.int64) << 32) + (0x7FFFFFFF - (first_column + column))
    tl.store(ranked + place, packed, above | (level & (place < k)))


@triton.jit
def _select_kernel(
    scores,
    ranked,
    stride,
    start,
    width,
    k,
    ranked_stride,
    ranked_start,
    HEAD: tl.constexpr,
    TAIL: tl.constexpr,
):
    # Blocks are powers of two, groups seldom: a head and a tail waste fewer lanes than one block.
    token = tl.program_id(0).to(tl.int64)
    scores += token * stride + start
    ranked += token * ranked_stride + ranked_start
    head_column = tl.arange(0, HEAD)
    tail_column = HEAD + tl.arange(0, TAIL)
    head = _load_keys(scores, head_column, width)
    tail = _load_keys(scores, tail_column, width)

    # `k` or more scores reach `low`, fewer than k reach `high`. Lanes without a column reach neither.
    tail_or_more = tl.where(tail_column < width, tail, _NAN_KEY)
    low = tl.minimum(tl.min(head, axis=0), tl.min(tail_or_more, axis=0)).to(tl.int64)
    high = tl.maximum(tl.max(head, axis=0), tl.max(tail, axis=0)).to(tl.int64) + 1
    reach_low = width
    turn = 0
    while (reach_low != k) & (high - low > 1):
        middle = _middle(low, high, turn)
        reach = _reaching(head, middle) + _reaching(tail, middle)
        low = tl.where(reach >= k, middle, low)
        reach_low = tl.where(reach >= k, reach, reach_low)
        high = tl.where(reach >= k, high, middle)
        turn += 1

    above_head = _reaching(head, high)
    level_head = _reaching(head, low) - above_head
    above = above_head + _reaching(tail, high)
    _keep(ranked, head, head_column, start, low, high, above, k, 0, 0)
    _keep(ranked, tail, tail_column, start, low, high, above, k, above_head, level_head)


@triton.jit
def _sort_kernel(ranked, values, indices, tokens, stride, start, k, ROWS: tl.constexpr, PLACES: tl.constexpr):
    token = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    place = tl.arange(0, PLACES)
    inside = (token < tokens)[:, None] & (place < k)[None, :]
    at = token[:, None] * stride + start + place[None, :]
    lowest = tl.full([ROWS, PLACES], -(2**63), tl.int64)
    packed = tl.sort(tl.load(ranked + at, inside, lowest), dim=1, descending=True)
    key = (packed >> 32).to(tl.int32)
    tl.store(values + at, _score_of(key).to(values.dtype.element_ty), inside)
    tl.store(indices + at, 0x7FFFFFFF - (packed & 0xFFFFFFFF), inside)


def top_k(scores: Tensor, groups: Sequence[tuple[int, int, int]]) -> tuple[Tensor, Tensor]:
    """Launch the kernels: the k largest of each group and their columns, [token, sum of k].

    The largest of a group comes first. Groups are start, stop and k.
    """
    scores = scores.contiguous()
    tokens, kept = len(scores), sum(k for _, _, k in groups)
    values, indices = scores.new_empty(tokens, kept), scores.new_empty(tokens, kept, dtype=torch.int64)
    if not tokens:
        return values, indices
    ranked = torch.empty_like(indices)
    first = 0
    for start, stop, k in groups:
        head, tail = _blocks(stop - start)
        _select_kernel[(tokens,)](
            scores,
            ranked,
            scores.stride(0),
            start,
            stop - start,
            k,
            kept,
            first,
            HEAD=head,
            TAIL=tail,
            num_warps=min(16, max(4, head // 512)),
            **LAUNCH_OPTIONS,
        )
        places = triton.next_power_of_2(k)
        rows = max(1, 512 // places)
        _sort_kernel[(triton.cdiv(tokens, rows),)](
            ranked, values, indices, tokens, kept, first, k, ROWS=rows, PLACES=places, **LAUNCH_OPTIONS
        )
        first += k
    return values, indices


def _blocks(width: int) -> tuple[int, int]:
    """Two powers of two that together hold `width` columns; the first is not wider than the group."""
    head = 1 << (width.bit_length() - 1)
    return head, triton.next_power_of_2(max(1, width - head))
