"""VL-SAE's edit: a decoder's text states moved towards what both the text's and the image's concepts say.

"VL-SAE: Interpreting and Enhancing Vision-Language Alignment with a Unified Concept Set" (arXiv 2510.21323).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.language_models.options import ConceptEditOptions
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.sides import Side
from pipeline.sae.vl_sae.auxiliary_autoencoder import AuxiliaryAutoencoder
from pipeline.sparse.codes import SparseCodes


class ConceptEdit:
    """Maps the mean image and text states of one layer to the vector that is added to every text state there.

    Calling it: `t' - t = a (t^ - t)` with `t^ = D_aux(D_sae((1 - beta) h_t + beta h_v))`, where h are the codes of the
    mean states' auxiliary embeddings and both decoders are the text side's.
    """

    def __init__(
        self, autoencoder: AuxiliaryAutoencoder, sae: SparseAutoencoder, options: ConceptEditOptions
    ) -> None:
        """Edit with a trained autoencoder and an SAE that was trained on its embeddings.

        Raises:
            ConfigError: the SAE reads embeddings of another width.
        """
        widths = (sae.vision_channels, sae.text_channels)
        if widths != (autoencoder.channels, autoencoder.channels):
            raise ConfigError(
                f"the auxiliary autoencoder's embeddings are {autoencoder.channels} wide, and the SAE reads "
                f"{widths[0]} (vision) and {widths[1]} (text); train the SAE on these embeddings"
            )
        self._autoencoder, self._sae, self._options = autoencoder, sae, options

    @torch.no_grad()
    def __call__(
        self, vision: Float[Tensor, "pair channel"], text: Float[Tensor, "pair channel"]
    ) -> Float[Tensor, "pair channel"]:
        """The shift of each pair's text states; `vision` and `text` are mean states, float32."""
        of_image, of_text = self._codes("vision", vision), self._codes("text", text)
        mixed = torch.lerp(of_text, of_image, self._options.vision_share)
        latents = torch.arange(mixed.shape[1], device=mixed.device).expand(len(mixed), -1)
        embedding = self._sae.decode("text", SparseCodes(mixed, latents))
        reconstruction = self._autoencoder.decode("text", embedding)
        return self._options.strength * (reconstruction - text)

    def _codes(self, side: Side, states: Tensor) -> Float[Tensor, "pair latent"]:
        codes = self._sae.encode(side, self._autoencoder.encode(side, states), "shared")
        return codes.dense(self._sae.shared_width)
