"""Attention written out as two batched products: three times faster to train on a CPU.

PyTorch's fused CPU kernel spends three quarters of its time in the backward pass at these sizes (197 tokens,
heads of 64, bfloat16). The parameters, their names and the function are those of `nn.MultiheadAttention`,
so the trained weights load into an unchanged open_clip model.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ExplicitAttention(nn.MultiheadAttention):
    """Self-attention of batch-first tokens; takes `nn.MultiheadAttention`'s own parameters."""

    def forward(  # type: ignore[override]
        self,
        query: Float[Tensor, "sequence token channel"],
        key: Tensor,
        value: Tensor,
        attn_mask: Float[Tensor, "token token"] | None = None,
        **_: Any,
    ) -> tuple[Float[Tensor, "sequence token channel"], None]:
        """Attend from `query` to itself; `attn_mask` is added to the logits. No attention weights are returned."""
        sequences, tokens, channels = query.shape
        shape = (sequences, tokens, 3, self.num_heads, self.head_dim)
        projected = nn.functional.linear(query, self.in_proj_weight, self.in_proj_bias).view(shape)
        q, k, v = projected.permute(2, 0, 3, 1, 4)
        logits = (q * self.head_dim**-0.5) @ k.transpose(-1, -2)
        if attn_mask is not None:
            logits = logits + attn_mask.to(logits.dtype)
        attended = torch.softmax(logits, dim=-1, dtype=logits.dtype) @ v
        merged = attended.transpose(1, 2).reshape(sequences, tokens, channels)
        return self.out_proj(merged), None


def use_explicit_attention(model: nn.Module) -> None:
    """Make every `nn.MultiheadAttention` of `model` compute explicitly, in place, parameters untouched."""
    for module in model.modules():
        if type(module) is nn.MultiheadAttention:
            module.__class__ = ExplicitAttention
