import numpy as np
import pytest
import torch

from pipeline.interpretation.neighbours import nearest_latents
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions


def test_nearest_latents_are_those_of_highest_mean_cosine_on_both_sides():
    torch.manual_seed(0)
    sae = LucidSAE(LucidOptions(latents=24, shared_ratio=0.5, k_shared=2, k_private=2), 6, 5)
    cosines = []
    for side in ("vision", "text"):
        rows = sae.dictionary(side).decoder.detach().double().numpy()[:12]
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        cosines.append(rows @ rows.T)
    latents = [11, 3, 7, 0, 5]
    nearest = nearest_latents(sae, latents, 3)
    for latent in latents:
        likeness = {
            other: (cosines[0] + cosines[1])[latent, other] / 2 for other in latents if other != latent
        }
        best = sorted(likeness, key=lambda other: -likeness[other])[:3]
        assert [neighbour.latent for neighbour in nearest[latent]] == best
        assert [(near.vision + near.text) / 2 for near in nearest[latent]] == pytest.approx(
            [likeness[other] for other in best], abs=1e-5
        )
    assert nearest_latents(sae, [4], 3) == {4: ()}
    assert nearest_latents(sae, [], 3) == {}
