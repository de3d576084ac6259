"""One latent with everything that stands on its page."""

from dataclasses import dataclass

from pipeline.interpretation.latent import Latent
from pipeline.interpretation.neighbours import Neighbour
from pipeline.report.evidence import Evidence


@dataclass(frozen=True)
class LatentPage(Latent):
    """The page of a latent.

    Attributes:
        folder: where its variant's pages are, relative to the report's root.
        images: where it fires in the interpreted split, strongest first.
        unseen: where it fires in the second split.
        unseen_frequency: share of that split's patches that fire it; None without the split.
        neighbours: the latents that resemble it most; image-level ones are compared with none.
        found_again: number of trainings from other seeds that found it, and of all; None where that was not measured.
    """

    folder: str
    images: tuple[Evidence, ...]
    unseen: tuple[Evidence, ...] = ()
    unseen_frequency: float | None = None
    neighbours: tuple[Neighbour, ...] = ()
    found_again: tuple[int, int] | None = None

    @property
    def confidence(self) -> float | None:
        """Of an image-level latent how well a picture's score tells its code in captions; None of any other."""
        confidence: float | None = self.row["confidence"]
        return confidence

    @property
    def page(self) -> str:
        """Path of its page relative to the report's root."""
        return f"{self.folder}/{self.number:04d}.html"

    @property
    def pictured(self) -> tuple[str, ...]:
        """The captions of the pictures that are shown."""
        return tuple(evidence.caption for evidence in self.images)

    @property
    def search_text(self) -> str:
        """What a search finds it by, in lower case: its name and terms, the words that fire it, its number, by line."""
        name = [self.row["name"]] if self.row["name"] is not None else []
        words = dict.fromkeys([*name, *self.terms, *(word for word, _ in self.words), str(self.number)])
        return "\n".join(words).lower()
