"""From one side of a pair to the other, for any dictionary: the plan between codes, and what it carries across."""

from jaxtyping import Float, Int64
from torch import Tensor

from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.sides import Side
from pipeline.sparse.codes import SparseCodes
from pipeline.transport.barycentric import mix_codes_to_text, mix_text_to_patches
from pipeline.transport.coupling import couple
from pipeline.transport.plan import TransportPlan, token_places


def transport_plan(
    sae: SparseAutoencoder,
    vision: SparseCodes,
    text: SparseCodes,
    text_offsets: Int64[Tensor, " pair_plus_1"],
    patches: int,
) -> TransportPlan:
    """Match each pair's patches and tokens by their shared codes; private latents among the codes are left out.

    Args:
        vision: codes [pair * patch, k], the pairs' patches one after another.
        text: codes [token, k], packed; pair p has tokens text_offsets[p] up to text_offsets[p + 1].
    """
    width = sae.shared_width
    vision, text = vision.shared_only(width), text.shared_only(width)
    places = token_places(text_offsets, len(text.values))
    return couple(vision, text, places, patches, width, sae.transport_options, detach_plan=True).plan


def cross_reconstruct(
    sae: SparseAutoencoder, target: Side, codes: SparseCodes, plan: TransportPlan
) -> Float[Tensor, "target_token channel"]:
    """Reconstruct the target side's activations, raw cache units, from the other side's codes through the plan.

    LUCID (arXiv 2602.07311) 3.3.1, decoded by the *target's* decoder: the formula prints the source's, whose output
    lies in the wrong space. Shared-only codes give the paper's reconstruction; with full codes the source's private
    latents are decoded too, by the target's private directions, which measures leakage.
    """
    decoder = sae.decoder(target)
    if target == "vision":
        return decoder.raw(mix_text_to_patches(plan, decoder.combine(codes)) + decoder.bias)
    return decoder.raw(decoder.combine_dense(mix_codes_to_text(plan, codes, len(decoder.directions))))
