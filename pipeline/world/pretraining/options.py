"""How the tiny SigLIP is trained; apart from the loop, since batches follow from the options alone."""

from pydantic import Field

from pipeline.config import Options


class PretrainingOptions(Options):
    """How the tiny SigLIP is trained."""

    seed: int = Field(default=1, ge=0, description="seed of the pool, the weights and the batches")
    scenes: int = Field(default=24_000, gt=0, description="rendered training scenes")
    steps: int = Field(default=7600, gt=0, description="optimizer steps")
    images: int = Field(default=64, gt=0, description="images per step")
    changes: int = Field(default=2, gt=0, description="captions with one fact changed, per image")
    bank_things: int = Field(default=40, gt=0, description="things of the batch the phrase bank names")
    patches: int = Field(default=16, gt=0, description="patches scored per image")
    learning_rate: float = Field(default=2e-3, gt=0, description="highest learning rate")
    weight_decay: float = Field(default=0.05, ge=0, description="decoupled decay of the matrices")
    schedule: tuple[tuple[int, float], ...] = Field(
        default=(
            *((0, 0.005), (199, 1.0), (1650, 1.0), (2500, 0.485), (3000, 0.485), (3500, 0.0)),
            *((3550, 0.5), (5000, 0.5), (6000, 0.0), (6050, 0.45), (6900, 0.45), (7600, 0.0)),
        ),
        description="(step, factor): the learning rate's factor is linear between these points",
    )
    gradient_norm: float = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    caption_weight: float = Field(default=1.0, ge=0, description="weight of captions against images")
    changed_weight: float = Field(default=2.0, ge=0, description="weight of captions with one fact changed")
    focus_step: int = Field(default=1500, ge=0, description="from here on, captions change in harder facts")
    focus_weight: float = Field(default=10.0, ge=0, description="weight of changed captions from there on")
    relation_step: int = Field(default=2500, ge=0, description="from here on, phrases say where things are")
    place_step: int = Field(
        default=3500, ge=0, description="from here on, phrases name halves of the picture"
    )
    mirror_step: int = Field(default=6000, ge=0, description="from here on, half of the pictures are flipped")
    image_phrase_weight: float = Field(default=1.0, ge=0, description="weight of phrases against images")
    patch_phrase_weight: float = Field(default=1.0, ge=0, description="weight of phrases against patches")

    def weights(self, step: int) -> dict[str, float]:
        """Give the weight of each term of the loss at that step, by the term's name."""
        return {
            "caption": self.caption_weight,
            "changed": self.changed_weight if step < self.focus_step else self.focus_weight,
            "image_phrase": self.image_phrase_weight,
            "patch_phrase": self.patch_phrase_weight,
        }
