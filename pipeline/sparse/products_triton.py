"""The kernels of `products`: sums and inner products over the rows that sparse codes name.

Every sum is kept in float32. Row numbers are widened to int64 before they are multiplied, since a table may
hold more than 2^31 numbers. `CHANNELS` are lanes: at least as many as the channels that a program works on,
and a power of two.
"""

# mypy: disable-error-code="import-untyped, import-not-found, untyped-decorator, no-untyped-def, no-untyped-call"
# ruff: noqa: N803 - Triton's custom: what a kernel is compiled for is in capitals.
import torch
import triton
import triton.language as tl
from torch import Tensor

from pipeline.sparse.availability import LAUNCH_OPTIONS

_MOST_LANES = 1024
_ENTRIES_PER_PART = 512
"""A latent that fires often would keep one program busy long after all others; so its sum is cut in parts."""


@triton.jit
def _gather_sum_kernel(
    values, indices, table, out, k, channels, ENTRIES: tl.constexpr, CHANNELS: tl.constexpr
):
    # One token, `CHANNELS` of its channels: all lanes lie along a row, so adding rows moves nothing between them.
    token = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    total = tl.zeros([CHANNELS], tl.float32)
    for first in range(0, k, ENTRIES):
        entry = first + tl.arange(0, ENTRIES)
        named = entry < k
        row = tl.load(indices + token * k + entry, named, 0).to(tl.int64)
        weight = tl.load(values + token * k + entry, named, 0).to(tl.float32)
        mask = named[:, None] & inside[None, :]
        part = tl.load(table + row[:, None] * channels + channel[None, :], mask, 0).to(tl.float32)
        total += tl.sum(weight[:, None] * part, axis=0)
    tl.store(out + token * channels + channel, total.to(out.dtype.element_ty), inside)


@triton.jit
def _sampled_dot_kernel(
    table, indices, rows, out, k, channels, ENTRIES: tl.constexpr, CHANNELS: tl.constexpr
):
    # One token, `ENTRIES` of its entries; products are added lane by lane first and across lanes once.
    token = tl.program_id(0).to(tl.int64)
    entry = tl.program_id(1) * ENTRIES + tl.arange(0, ENTRIES)
    named = entry < k
    row = tl.load(indices + token * k + entry, named, 0).to(tl.int64)
    total = tl.zeros([ENTRIES, CHANNELS], tl.float32)
    for first in range(0, channels, CHANNELS):
        channel = first + tl.arange(0, CHANNELS)
        inside = channel < channels
        mask = named[:, None] & inside[None, :]
        left = tl.load(table + row[:, None] * channels + channel[None, :], mask, 0).to(tl.float32)
        right = tl.load(rows + token * channels + channel, inside, 0).to(tl.float32)
        total += left * right[None, :]
    tl.store(out + token * k + entry, tl.sum(total, axis=1).to(out.dtype.element_ty), named)


@triton.jit
def _scatter_part_kernel(
    values,
    rows,
    entries,
    bounds,
    part_starts,
    part_latents,
    parts,
    k,
    channels,
    PART: tl.constexpr,
    ENTRIES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    # One part: at most `PART` neighbouring entries, all of one latent. The grid holds as many programs as
    # there can be parts, which is known without looking at the data; those left over add nothing up.
    part = tl.program_id(0).to(tl.int64)
    latent = tl.load(part_latents + part)
    begin = tl.load(bounds + latent) + (part - tl.load(part_starts + latent)) * PART
    end = tl.minimum(begin + PART, tl.load(bounds + latent + 1))
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    total = tl.zeros([CHANNELS], tl.float32)
    for first in range(begin, end, ENTRIES):
        place = first + tl.arange(0, ENTRIES)
        mine = place < end
        entry = tl.load(entries + place, mine, 0).to(tl.int64)
        weight = tl.load(values + entry, mine, 0).to(tl.float32)
        mask = mine[:, None] & inside[None, :]
        row = tl.load(rows + (entry // k)[:, None] * channels + channel[None, :], mask, 0).to(tl.float32)
        total += tl.sum(weight[:, None] * row, axis=0)
    tl.store(parts + part * channels + channel, total, inside)


@triton.jit
def _scatter_total_kernel(parts, part_starts, out, channels, CHANNELS: tl.constexpr):
    # One latent: the sum of its parts, in order. No atomics, so every run adds in the same order.
    latent = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    total = tl.zeros([CHANNELS], tl.float32)
    for part in range(tl.load(part_starts + latent), tl.load(part_starts + latent + 1)):
        total += tl.load(parts + part * channels + channel, inside, 0)
    tl.store(out + latent * channels + channel, total.to(out.dtype.element_ty), inside)


def gather_sum(values: Tensor, indices: Tensor, table: Tensor) -> Tensor:
    """Launch the kernel of `Z @ table`, [token, channel]."""
    values, indices, table = values.contiguous(), indices.contiguous(), table.contiguous()
    (tokens, k), channels = indices.shape, table.shape[1]
    out = _new(values, table, (tokens, channels))
    lanes = _lanes(channels, _MOST_LANES)
    if out.numel():
        _gather_sum_kernel[(tokens, triton.cdiv(channels, lanes))](
            values,
            indices,
            table,
            out,
            k,
            channels,
            ENTRIES=8,
            CHANNELS=lanes,
            num_warps=_warps(lanes),
            **LAUNCH_OPTIONS,
        )
    return out


def sampled_dot(table: Tensor, indices: Tensor, rows: Tensor) -> Tensor:
    """Launch the kernel of `rows @ table.T` at the columns named, [token, k]."""
    table, indices, rows = table.contiguous(), indices.contiguous(), rows.contiguous()
    (tokens, k), channels = indices.shape, table.shape[1]
    out = _new(table, rows, (tokens, k))
    entries = min(16, triton.next_power_of_2(k))
    if out.numel():
        _sampled_dot_kernel[(tokens, triton.cdiv(k, entries))](
            table,
            indices,
            rows,
            out,
            k,
            channels,
            ENTRIES=entries,
            CHANNELS=_lanes(channels, 256),
            **LAUNCH_OPTIONS,
        )
    return out


def scatter_sum(values: Tensor, rows: Tensor, entry: Tensor, starts: Tensor) -> Tensor:
    """Launch the kernels of `Z.T @ rows`, [latent, channel]: added in the same order on every run.

    Nothing here waits for the device, so a CUDA graph can hold it.

    Args:
        entry: numbers `token * k + place` of all entries, sorted by latent.
        starts: where in `entry` each latent's begin.
    """
    values, rows, entry = values.contiguous(), rows.contiguous(), entry.contiguous()
    height, channels = len(starts), rows.shape[1]
    out = _new(values, rows, (height, channels))
    if not out.numel():
        return out
    bounds = torch.cat([starts, starts.new_full((1,), len(entry))])
    part_starts = torch.zeros_like(bounds)
    torch.cumsum((bounds.diff() + _ENTRIES_PER_PART - 1) // _ENTRIES_PER_PART, 0, out=part_starts[1:])
    most_parts = len(entry) // _ENTRIES_PER_PART + height
    part = torch.arange(most_parts, device=rows.device)
    part_latents = torch.searchsorted(part_starts[1:], part, right=True).clamp_(max=height - 1)
    parts = rows.new_empty(most_parts, channels, dtype=torch.float32)
    lanes = _lanes(channels, _MOST_LANES)
    across = triton.cdiv(channels, lanes)
    _scatter_part_kernel[(most_parts, across)](
        values,
        rows,
        entry,
        bounds,
        part_starts,
        part_latents,
        parts,
        values.shape[1],
        channels,
        PART=_ENTRIES_PER_PART,
        ENTRIES=8,
        CHANNELS=lanes,
        num_warps=_warps(lanes),
        **LAUNCH_OPTIONS,
    )
    _scatter_total_kernel[(height, across)](
        parts, part_starts, out, channels, CHANNELS=lanes, num_warps=_warps(lanes), **LAUNCH_OPTIONS
    )
    return out


def _new(one: Tensor, other: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Uninitialised, of the wider type of the two."""
    return one.new_empty(shape, dtype=torch.promote_types(one.dtype, other.dtype))


def _lanes(channels: int, most: int) -> int:
    return int(min(triton.next_power_of_2(channels), most))


def _warps(lanes: int) -> int:
    """Warps that hold a row of bfloat16 in pieces of 16 bytes per lane, the widest load there is."""
    return int(max(1, min(4, lanes // 256)))
