"""LUCID the plain way: dense codes, text padded to one length, masks, autograd. The baseline of the sparse step.

It is what one writes first from the paper (arXiv 2602.07311), and the suite's oracle for losses and gradients at sizes
of real training. It covers the full method only: global lock, guided plan, detached.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.sae.dictionary import Dictionary
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.pairs import Pairs
from pipeline.sae.sides import Side


def dense_losses(sae: LucidSAE, pairs: Pairs, text_length: int) -> Tensor:
    """`sae.losses(pairs).total`, captions padded to `text_length` tokens; also advances the clock of dead latents."""
    options, width = sae.options, sae.shared_width
    vision, text = sae.dictionary("vision"), sae.dictionary("text")
    patches = vision.scaled(pairs.vision)
    tokens, valid = _pad(text.scaled(pairs.text), pairs.text_offsets, text_length)
    everywhere = torch.ones(patches.shape[:2], dtype=torch.bool)
    captioned = valid.any(dim=1)

    vision_codes = _encode(sae, vision, patches, everywhere)
    text_codes = _encode(sae, text, tokens, valid)
    rebuilt_patches, rebuilt_tokens = _decode(vision, vision_codes), _decode(text, text_codes)
    loss = options.alpha * (
        _masked_mse(rebuilt_patches, patches, everywhere) + _masked_mse(rebuilt_tokens, tokens, valid)
    )

    shared_vision, shared_text = vision_codes[..., :width], text_codes[..., :width]
    plan = _plan(sae, shared_vision.detach(), shared_text.detach(), valid)
    to_patches = (plan / plan.sum(dim=2, keepdim=True).clamp_min(1e-30)) @ shared_text
    to_tokens = (plan / plan.sum(dim=1, keepdim=True).clamp_min(1e-30)).mT @ shared_vision
    loss = loss + options.gamma * (
        _masked_mse(_decode(vision, to_patches), patches, captioned[:, None].expand_as(everywhere))
        + _masked_mse(_decode(text, to_tokens), tokens, valid)
    )

    lengths = valid.sum(dim=1, keepdim=True).clamp_min(1)
    from_text = _decode(vision, shared_text.sum(dim=1) / lengths)
    from_vision = _decode(text, shared_vision.mean(dim=1))
    loss = loss + options.beta * (
        _masked_mse(from_text, patches.mean(dim=1), captioned)
        + _masked_mse(from_vision, tokens.sum(dim=1) / lengths, captioned)
    )

    auxiliary = _auxiliary(sae, "vision", patches, vision_codes, rebuilt_patches, everywhere)
    auxiliary = auxiliary + _auxiliary(sae, "text", tokens, text_codes, rebuilt_tokens, valid)
    return loss + options.auxiliary.coefficient * auxiliary


def _pad(rows: Tensor, offsets: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """[pair, length, channel], 0 where there is no token, and where there is one."""
    valid = torch.arange(length) < offsets.diff()[:, None]
    padded = rows.new_zeros(*valid.shape, rows.shape[1])
    padded[valid] = rows
    return padded, valid


def _encode(sae: LucidSAE, dictionary: Dictionary, scaled: Tensor, valid: Tensor) -> Tensor:
    """Codes [pair, token, latent]; padding has code 0."""
    scores = F.linear(scaled - dictionary.decoder_bias, dictionary.encoder, dictionary.encoder_bias)
    shared, private = scores.split([sae.shared_width, sae.private_width], dim=2)
    codes = [_keep(shared, sae.options.k_shared), _keep(private, sae.options.k_private)]
    return torch.cat(codes, dim=2) * valid[:, :, None]


def _keep(scores: Tensor, k: int) -> Tensor:
    best = scores.topk(k, dim=-1)
    return torch.zeros_like(scores).scatter(-1, best.indices, best.values.relu())


def _decode(dictionary: Dictionary, codes: Tensor) -> Tensor:
    return codes @ dictionary.decoder[: codes.shape[-1]] + dictionary.decoder_bias


def _masked_mse(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    squared = (prediction - target).square() * mask[..., None]
    return squared.sum() / (mask.sum() * target.shape[-1]).clamp_min(1)


@torch.no_grad()
def _plan(sae: LucidSAE, vision: Tensor, text: Tensor, valid: Tensor) -> Tensor:
    """Guided Sinkhorn, [pair, patch, token]; padding has no mass."""
    options = sae.options
    text_direction = F.normalize(text, dim=2)
    cost = 1 - F.normalize(vision, dim=2) @ text_direction.mT
    fit = (F.normalize(vision.mean(dim=1), dim=1)[:, None] @ text_direction.mT)[:, 0].relu() * valid
    mass = torch.where(fit.any(dim=1, keepdim=True), fit, valid.to(fit.dtype))
    mass = mass / mass.sum(dim=1, keepdim=True).clamp_min(1e-30)
    cost = cost + options.guidance.lambda_global * (1 - fit)[:, None]
    kernel = (-cost / options.epsilon).exp() * valid[:, None]
    columns = torch.ones_like(mass)
    for _ in range(options.iterations):
        rows = 1 / vision.shape[1] / (kernel @ columns[:, :, None]).clamp_min(1e-30)
        columns = mass / (kernel.mT @ rows)[:, :, 0].clamp_min(1e-30)
    return rows * kernel * columns[:, None]


def _auxiliary(
    sae: LucidSAE, side: Side, scaled: Tensor, codes: Tensor, rebuilt: Tensor, mask: Tensor
) -> Tensor:
    """AuxK (arXiv 2406.04093): the k best dead latents against the error, k being half the channels."""
    dictionary, clock = sae.dictionary(side), sae.activity[side].pairs_since_fired
    clock += len(scaled)
    clock[(codes != 0).flatten(0, 1).any(dim=0)] = 0
    dead = clock >= sae.options.auxiliary.dead_after_pairs
    k, count = scaled.shape[2] // 2, int(dead.sum())
    if not count:
        return scaled.new_zeros(())
    error = (scaled - rebuilt).detach()[mask]
    centred = scaled[mask] - dictionary.decoder_bias.detach()
    scores = F.linear(centred, dictionary.encoder[dead], dictionary.encoder_bias[dead])
    explained = _keep(scores, min(k, count)) @ dictionary.decoder[dead]
    variance = (error - error.mean(dim=0)).square().mean()
    return F.mse_loss(explained, error) / variance * min(count / k, 1.0)
