"""What the options of every architecture have in common, and options that several of them have."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config import Options

Inputs = Literal["tokens", "pooled"]
Centring = Literal["global", "position"]
Activation = Literal["top_k", "batch_top_k", "jump_relu"]

MatchedBy = Literal["pair", "plan"]
"""What fires together: a picture and its caption, or a patch and a token by the transport plan."""

SHARED_WEIGHTS = "the sides have weights in common, so one side's latents cannot be given other numbers"
"""Why there is nothing to match, as messages say it."""


def refuse_more_active_than_there_are(k: int, latents: int) -> None:
    """Refuse a Top-K of more latents than there are.

    Raises:
        ValueError: `k` is more than `latents`.
    """
    if k > latents:
        raise ValueError(f"k = {k} is more than the {latents} latents; lower k or raise latents")


class MatchingOptions(Options):
    """When the latents of the sides are matched: once, by how they fire together over the training pairs."""

    separate_epochs: int | None = Field(
        ge=0,
        description="epochs in which the sides learn apart, each with one Top-K over all its latents, before they are "
        "matched; the rest of train.epochs then goes on with matched latents. 0 matches what training begins with, "
        "even if nothing is trained. null is what `concord match` writes of a dictionary that was matched after its "
        "training",
    )

    def problem(self, epochs: int) -> str | None:
        """Say why a training of so many epochs cannot match the sides; None if it can, or if nothing is trained."""
        if self.separate_epochs is None:
            return (
                "sae.matching.separate_epochs is null, which is for `concord match`; give a number of epochs"
            )
        if 0 < epochs < self.separate_epochs:
            return (
                f"sae.matching.separate_epochs = {self.separate_epochs} is more than train.epochs = {epochs}, so the "
                "sides would never be matched; lower it or raise train.epochs"
            )
        return None


class WhiteningOptions(Options):
    """How the covariance is taken that a side is whitened by while a dictionary learns."""

    shrinkage: float = Field(
        default=0.01,
        ge=1e-6,
        le=1,
        description="weight of equal variances in every direction beside the measured covariance; at 1 only a side's "
        "mean and size are taken away",
    )


class ArchitectureOptions(Options):
    """The options that an SAE is built from; `architecture` is its name in the registry, `latents` those of a side."""

    architecture: str
    latents: int
    centring: Centring = Field(
        default="global",
        description="what is taken away from a patch or a token before it is read: nothing but what the architecture "
        "takes, or also what it is on average at its position, with the mean of all put back. A decoded activation is "
        "without it too, until it is put back",
    )
    whitening: WhiteningOptions | None = Field(
        default=None,
        description="learn from activations that vary alike in every direction; afterwards this is folded into the "
        "weights, which read raw ones; null learns from raw ones",
    )
    matching: MatchingOptions | None = Field(
        default=None, description="match the sides' latents during training; null leaves them as they fall"
    )

    @property
    def reads(self) -> Inputs:
        """What the SAE reads of a pair: every patch and token, unless the architecture says otherwise."""
        return "tokens"

    @property
    def reindexable(self) -> bool:
        """Whether each side has latents of its own, which can be renumbered; not unless the architecture says so."""
        return False

    @property
    def foldable(self) -> bool:
        """Whether linear maps of its own encode and decode each side; not unless the architecture says so."""
        return False

    @property
    def starts_at_components(self) -> bool:
        """Whether its directions begin as principal components; not unless the architecture says so."""
        return False

    @property
    def latents_of_images(self) -> "ImageLevelOptions | None":
        """What its latents of whole images are; it has none unless the architecture says so."""
        return None

    @model_validator(mode="after")
    def _has_positions(self) -> Self:
        if self.centring == "position" and self.reads == "pooled":
            raise ValueError("centring: pooled embeddings have no position; leave it out, or read tokens")
        return self

    @model_validator(mode="after")
    def _sides_can_be_matched(self) -> Self:
        if self.matching and not self.reindexable:
            raise ValueError(f"matching: {SHARED_WEIGHTS}; leave it out")
        return self

    @model_validator(mode="after")
    def _whitening_can_be_folded(self) -> Self:
        if self.whitening and not self.foldable:
            raise ValueError(
                "whitening: ends in the weights of an affine encoder and a decoder that each side has for itself; "
                "leave it out, or choose such"
            )
        return self


class JumpReLUOptions(Options):
    """How thresholds are learned; k is the mean number of active latents that they are drawn to."""

    weight: float = Field(
        default=10.0,
        gt=0,
        description="weight of (L0 / k - 1)^2, summed over shared and private latents; L0 is how many of them are "
        "active in a token, the mean over a batch",
    )
    bandwidth: float = Field(
        default=0.5,
        gt=0,
        lt=2,
        description="width of the band of codes that a threshold learns from, as a share of the threshold that it "
        "begins with",
    )
    batches_in_common: int = Field(
        default=100,
        gt=0,
        description="batches, from the first of training and from a match, in which all shared latents have the "
        "threshold at which k of them are active, and all private ones theirs; only then does each learn its own. The "
        "codes of random weights shrink faster than thresholds learn",
    )
    cap: int = Field(default=4, gt=1, description="the most active latents of a token, as a multiple of k")


class LatentOptions(ArchitectureOptions):
    """Which latents are active, and what comes first among them: options of LUCID and of VL-SAE alike."""

    activation: Activation = Field(
        default="top_k",
        description="which latents are active: the k largest of every token; or the k n largest of a batch of n "
        "tokens in training and those above a stored threshold ever after (BatchTopK, arXiv 2412.06410); or those "
        "above a threshold of their own, which is learned (JumpReLU, arXiv 2407.14435)",
    )
    batch_top_k_cap: int = Field(
        default=4,
        gt=1,
        description="with batch_top_k, the most active latents of a token, as a multiple of k",
    )
    jump_relu: JumpReLUOptions = JumpReLUOptions()
    prefixes: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=(),
        description="shares of the shared latents, the first of which must reconstruct without the others and without "
        "private ones (Matryoshka, arXiv 2503.17547); self reconstruction is then the mean over them and the whole. "
        "Not while the sides learn apart, since a match renumbers their latents",
    )

    def prefix_widths(self, shared_width: int) -> tuple[int, ...]:
        """Count the latents of every prefix of so many shared ones, rising; all latents together are no prefix."""
        widths = {max(1, round(share * shared_width)) for share in self.prefixes}
        return tuple(sorted(widths - {self.latents}))


class ImageLevelOptions(Options):
    """Latents of text whose partner is no latent of patches but a linear map of the image's pooled embedding."""

    latents: int = Field(default=256, gt=0, description="how many; private latents of text become these")
    k: int = Field(default=64, gt=0, description="active ones per image, at most")
    ridge: float = Field(
        default=0.02,
        gt=0,
        description="strength of the ridge regression, of embeddings scaled to variance 1",
    )

    @model_validator(mode="after")
    def _budget_fits(self) -> Self:
        refuse_more_active_than_there_are(self.k, self.latents)
        return self


class ContrastOptions(Options):
    """A contrast of the pairs of a batch by their pooled shared codes, beside or instead of an alignment loss."""

    weight: float = Field(default=0.0, ge=0, description="weight of the loss; 0 turns it off")
    scale: float = Field(
        default=5.0, gt=0, description="what cosines are multiplied by, the inverse of the temperature"
    )


class PairedCodesOptions(Options):
    """What is asked of the two codes of a pair, each the largest code per latent of what is read of its side."""

    cosine: float = Field(
        default=0.0, ge=0, description="weight of 1 - cosine of the two codes; 0 turns it off"
    )
    spare_strongest: bool = Field(
        default=False, description="leave the strongest latent of either side out of both codes of the cosine"
    )
    group_sparsity: float = Field(
        default=0.0,
        ge=0,
        description="weight of the sum over latents of the length of (vision code, text code), either times the length "
        "of its latent's direction; 0 turns it off",
    )

    @property
    def any(self) -> bool:
        """Whether anything is asked."""
        return self.cosine > 0 or self.group_sparsity > 0

    @model_validator(mode="after")
    def _strongest_are_spared_of_a_cosine(self) -> Self:
        if self.spare_strongest and not self.cosine:
            raise ValueError(
                "spare_strongest: there is no cosine to spare them; give cosine a weight above 0"
            )
        return self


class AuxiliaryOptions(Options):
    """When a latent counts as dead and how much the loss cares."""

    coefficient: float = Field(
        default=1 / 32, ge=0, description="weight of the auxiliary loss; 0 turns it off"
    )
    k: int | None = Field(
        default=None,
        gt=0,
        description="Top-K budget of the dead latents; null is half the activations' width",
    )
    dead_after_pairs: int = Field(
        default=10_000,
        gt=0,
        description="pairs a latent may miss before it counts as dead. Pairs and not tokens, because an image has "
        "a dozen times as many patches as its caption has tokens: one clock for both sides",
    )


class BalanceOptions(Options):
    """A loss against shared latents that answer for nearly every picture or caption, whatever it shows."""

    weight: float = Field(default=0.0, ge=0, description="weight of the loss; 0 turns it off")
    most: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="in which share of the pictures, or of the captions, a shared latent may be among the strongest "
        "before it is weakened; not below the share that shows one thing",
    )
