"""What each shared latent means: concepts matched with images, clustered, and named."""

from pipeline.interpretation.concept_list import ConceptList, load_concept_list
from pipeline.interpretation.latent_table import LATENT_SCHEMA, read_latents
from pipeline.interpretation.naming import interpret
from pipeline.interpretation.options import InterpretOptions

__all__ = [
    "LATENT_SCHEMA",
    "ConceptList",
    "InterpretOptions",
    "interpret",
    "load_concept_list",
    "read_latents",
]
