"""LUCID, plain: dense codes, one pair at a time, float64, formula by formula (arXiv 2602.07311).

The oracle of the sparse, ragged, batched implementation. Written for reading: it shares no code with it, and
gradients are autograd's.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Side:
    """One side's weights, all float64, `[latent, channel]`, in scaled units."""

    encoder: Tensor
    encoder_bias: Tensor
    decoder: Tensor
    decoder_bias: Tensor


@dataclass
class Pair:
    """One pair's activations in scaled units: `[patch, channel]` and `[token, channel]`."""

    patches: Tensor
    tokens: Tensor


@dataclass
class Reference:
    """The losses of a batch, per term and in all."""

    options: object
    vision: Side
    text: Side
    dead: dict[str, Tensor] = field(default_factory=dict)  # side -> bool [latent]

    @property
    def shared_width(self) -> int:
        return max(1, round(self.options.latents * self.options.shared_ratio))

    # 3.1.1: the sparse encoder E_m and the linear decoder D_m

    def pre_activations(self, side: Side, h: Tensor) -> Tensor:
        centred = h - side.decoder_bias if self.options.subtract_decoder_bias else h
        return centred @ side.encoder.T + side.encoder_bias

    def codes(self, side: Side, h: Tensor) -> Tensor:
        """Dense [item, latent]: z_s by Top-k_s of the shared part, z_p by Top-k_p of the private part."""
        o, pre = self.options, self.pre_activations(side, h)
        if self.shared_width == o.latents:
            return self.top_k(pre, o.k_shared + o.k_private)
        shared, private = pre[:, : self.shared_width], pre[:, self.shared_width :]
        return torch.cat([self.top_k(shared, o.k_shared), self.top_k(private, o.k_private)], 1)

    def top_k(self, pre: Tensor, k: int) -> Tensor:
        """The k largest, the lowest index first among equals, then ReLU; zero elsewhere."""
        kept = torch.zeros_like(pre)
        for row, scores in enumerate(pre.tolist()):
            for column in sorted(range(len(scores)), key=lambda j: (-scores[j], j))[:k]:
                kept[row, column] = 1
        return kept * (pre.relu() if self.options.relu else pre)

    def shared(self, z: Tensor) -> Tensor:
        return z[:, : self.shared_width]

    def decode(self, side: Side, z: Tensor) -> Tensor:
        return z @ side.decoder[: z.shape[1]] + side.decoder_bias

    # 3.2.1 and 3.2.2: cost, guidance, plan

    def cost(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        """C_ij = 1 - cos(z_i^a, z_j^b); a zero code has cosine 0."""
        return 1 - torch.stack([torch.stack([cosine(a, b) for b in z_b]) for a in z_a])

    def plan(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        o = self.options
        cost = self.cost(z_a, z_b)
        r = torch.full((len(z_a),), 1 / len(z_a), dtype=torch.float64)
        c = torch.full((len(z_b),), 1 / len(z_b), dtype=torch.float64)
        if o.guidance.global_context:
            g = z_a.mean(dim=0)
            w = torch.stack([cosine(g, b).relu() for b in z_b])
            cost = cost + o.guidance.lambda_global * (1 - w)[None, :]
            c = w / w.sum() if w.sum() > 0 else c
        return sinkhorn(cost, r, c, o.epsilon, o.iterations)

    # 3.2.3, 3.3, 3.4: the terms, as means per element

    def terms(self, pairs: list[Pair]) -> dict[str, Tensor]:
        o = self.options
        z_a = [self.codes(self.vision, pair.patches) for pair in pairs]
        z_b = [self.codes(self.text, pair.tokens) for pair in pairs]
        patches = torch.cat([pair.patches for pair in pairs])
        tokens = torch.cat([pair.tokens for pair in pairs])
        rebuilt = {
            "vision": self.decode(self.vision, torch.cat(z_a)),
            "text": self.decode(self.text, torch.cat(z_b)),
        }
        terms = {
            "self_vision": (rebuilt["vision"] - patches).square().mean(),
            "self_text": (rebuilt["text"] - tokens).square().mean(),
        }
        captioned = [n for n, pair in enumerate(pairs) if len(pair.tokens)]
        if o.alignment == "global_lock" and o.beta:
            terms["alignment"] = torch.stack([self.lock(pairs[n], z_a[n], z_b[n]) for n in captioned]).mean()
        if o.alignment == "transport_cost" and o.beta:
            costs = []
            for n in captioned:
                s_a, s_b = self.shared(z_a[n]), self.shared(z_b[n])
                costs.append((self.cost(s_a, s_b) * self.used_plan(s_a, s_b)).sum())
            terms["alignment"] = torch.stack(costs).mean()
        if o.gamma:
            crossed = [self.cross_errors(pairs[n], z_a[n], z_b[n]) for n in captioned]
            terms["cross_vision"] = torch.cat([vision for vision, _ in crossed]).mean()
            terms["cross_text"] = torch.cat([text for _, text in crossed]).mean()
        k = o.k_shared if self.shared_width < o.latents else o.k_shared + o.k_private
        both = [torch.cat(z_a), torch.cat(z_b)]
        if o.lambda_shared:
            terms["l1_shared"] = sum(self.shared(z).abs().sum() / (len(z) * k) for z in both)
        if o.lambda_private:
            terms["l1_private"] = sum(
                z[:, self.shared_width :].abs().sum() / (len(z) * o.k_private) for z in both
            )
        if o.auxiliary.coefficient and self.dead:
            terms["auxiliary_vision"] = self.auxiliary("vision", self.vision, patches, rebuilt["vision"])
            terms["auxiliary_text"] = self.auxiliary("text", self.text, tokens, rebuilt["text"])
        return terms

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        o = self.options
        weights = {
            "self": o.alpha,
            "alignment": o.beta,
            "cross": o.gamma,
            "l1_shared": o.lambda_shared,
            "l1_private": o.lambda_private,
            "auxiliary": o.auxiliary.coefficient,
        }
        return sum(
            weights.get(name, weights.get(name.split("_")[0], 0.0)) * term for name, term in terms.items()
        )

    def lock(self, pair: Pair, z_a: Tensor, z_b: Tensor) -> Tensor:
        """L_align: |D_a(mean z_s^b) - mean h^a|^2 and its mirror image."""
        from_text = self.decode(self.vision, self.shared(z_b).mean(dim=0)[None])[0]
        from_vision = self.decode(self.text, self.shared(z_a).mean(dim=0)[None])[0]
        return (from_text - pair.patches.mean(dim=0)).square().mean() + (
            from_vision - pair.tokens.mean(dim=0)
        ).square().mean()

    def cross_errors(self, pair: Pair, z_a: Tensor, z_b: Tensor) -> tuple[Tensor, Tensor]:
        """Squared errors of both barycentric reconstructions, [patch, channel] and [token, channel]."""
        z_a, z_b = self.shared(z_a), self.shared(z_b)
        to_patches, to_tokens = self.cross(self.used_plan(z_a, z_b), z_a, z_b)
        return (to_patches - pair.patches).square(), (to_tokens - pair.tokens).square()

    def cross(self, plan: Tensor, z_a: Tensor, z_b: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = plan.sum(dim=1), plan.sum(dim=0)
        to_patches = torch.stack(
            [sum(plan[i, j] / rows[i] * z_b[j] for j in range(len(z_b))) for i in range(len(z_a))]
        )
        nothing = torch.zeros_like(z_a[0])
        to_tokens = torch.stack(
            [
                sum(plan[i, j] / columns[j] * z_a[i] for i in range(len(z_a))) if columns[j] > 0 else nothing
                for j in range(len(z_b))
            ]
        )
        return self.decode(self.vision, to_patches), self.decode(self.text, to_tokens)

    def used_plan(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        plan = self.plan(z_a, z_b)
        return plan if self.options.plan_gradient == "unrolled" else plan.detach()

    def auxiliary(self, name: str, side: Side, h: Tensor, rebuilt: Tensor) -> Tensor:
        """AuxK (arXiv 2406.04093): the k best dead latents against the detached error, without bias."""
        dead, k = self.dead[name], self.options.auxiliary.k or h.shape[1] // 2
        if not dead.any():
            return torch.zeros((), dtype=torch.float64)
        error = (h - rebuilt).detach()
        side = Side(side.encoder, side.encoder_bias, side.decoder, side.decoder_bias.detach())
        pre = self.pre_activations(side, h)[:, dead]
        explained = self.top_k(pre, min(k, pre.shape[1])) @ side.decoder[dead]
        variance = (error - error.mean(dim=0)).square().mean()
        if variance <= 1e-12 * error.square().mean():
            return torch.zeros((), dtype=torch.float64)
        return (explained - error).square().mean() / variance * min(int(dead.sum()) / k, 1.0)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    if not a.any() or not b.any():
        return (a * 0).sum() + (b * 0).sum()
    return (a @ b) / (a.norm() * b.norm())


def sinkhorn(cost: Tensor, r: Tensor, c: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Corollary A.2, equation 3: u = r / (K v), v = c / (K.T u), from v = 1."""
    kernel = (-cost / epsilon).exp()
    v = torch.ones_like(c)
    for _ in range(iterations):
        u = r / (kernel @ v)
        v = c / (kernel.T @ u)
    return u[:, None] * kernel * v[None, :]
