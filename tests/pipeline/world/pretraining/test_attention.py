import copy

import torch
from torch import nn

from pipeline.world.pretraining.attention import ExplicitAttention, use_explicit_attention


def test_explicit_attention_is_pytorchs_with_and_without_a_mask_gradients_included() -> None:
    torch.manual_seed(0)
    fused = nn.MultiheadAttention(16, 2, batch_first=True).double()
    explicit = copy.deepcopy(fused)
    use_explicit_attention(explicit)
    assert isinstance(explicit, ExplicitAttention)
    assert explicit.state_dict().keys() == fused.state_dict().keys()
    x = torch.randn(3, 5, 16, dtype=torch.float64)
    causal = torch.full((5, 5), float("-inf"), dtype=torch.float64).triu(1)
    for mask in (None, causal):
        gradients, outputs = [], []
        for module in (fused, explicit):
            inputs = x.clone().requires_grad_()
            output, weights = module(inputs, inputs, inputs, need_weights=False, attn_mask=mask)
            assert weights is None
            output.square().sum().backward()
            outputs.append(output)
            gradients.append(inputs.grad)
        torch.testing.assert_close(outputs[0], outputs[1])
        torch.testing.assert_close(gradients[0], gradients[1])
