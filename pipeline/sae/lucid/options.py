"""The options of LUCID; every variant of the paper's tables is a choice of them."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.sae.options import (
    AuxiliaryOptions,
    BalanceOptions,
    ContrastOptions,
    ImageLevelOptions,
    LatentOptions,
)
from pipeline.transport.options import GuidanceOptions

Alignment = Literal["none", "transport_cost", "global_lock"]


class LucidOptions(LatentOptions):
    """LUCID's architecture and objective; the defaults are the paper's (appendix A.1)."""

    architecture: Literal["lucid"] = Field(
        default="lucid", description="which SAE; the other options are its own"
    )
    latents: int = Field(default=6144, gt=0, description="latents per side, shared and private together")
    shared_ratio: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="share of the latents that is shared; at 1 one Top-K ranks them all",
    )
    k_shared: int = Field(default=16, gt=0, description="active shared latents per token")
    k_private: int = Field(
        default=32,
        gt=0,
        description="active private latents per token; at shared_ratio 1 they add to k_shared",
    )
    alignment: Alignment = Field(
        default="global_lock",
        description="alignment loss: the cost <C, P> of the plan, or the global semantic lock of 3.2.3",
    )
    start: Literal["random", "components"] = Field(
        default="random",
        description="directions that training begins with: drawn from train.seed, or the principal components of each "
        "side, each with both signs. Components that are not trained are a control: they know of no concept",
    )
    epsilon: float = Field(default=0.1, gt=0, description="entropic regularisation of the plan")
    iterations: int = Field(default=10, gt=0, description="Sinkhorn iterations, always all of them")
    guidance: GuidanceOptions = GuidanceOptions()
    plan_gradient: Literal["detached", "unrolled"] = Field(
        default="detached",
        description="whether gradients pass through the plan. The paper does not say; detached is the cheaper, and "
        "the cost's own gradient at a fixed plan is that of the converged optimum; unrolled is the exact gradient "
        "of the finite iteration",
    )
    alpha: float = Field(default=1.0, ge=0, description="weight of self reconstruction")
    beta: float = Field(default=0.5, ge=0, description="weight of the alignment loss")
    gamma: float = Field(default=0.3, ge=0, description="weight of cross reconstruction")
    lambda_shared: float = Field(
        default=0.0, ge=0, description="L1 weight of shared codes (named in 3.4, no value)"
    )
    lambda_private: float = Field(
        default=0.0, ge=0, description="L1 weight of private codes (named, no value)"
    )
    unit_norm_decoder: bool = Field(
        default=True,
        description="keep decoder directions at unit length: the field's custom, not in the paper",
    )
    subtract_decoder_bias: bool = Field(
        default=True, description="encode h - b_dec rather than h: the field's custom, not in the paper"
    )
    relu: bool = Field(
        default=True, description="codes are never negative: the field's custom, not in the paper"
    )
    contrast: ContrastOptions = ContrastOptions()
    balance: BalanceOptions = BalanceOptions()
    image_level: ImageLevelOptions | None = Field(
        default=None,
        description="shared latents of whole images, fitted after training to what captions say that no patch shows",
    )
    auxiliary: AuxiliaryOptions = AuxiliaryOptions()

    @property
    def reindexable(self) -> bool:
        """Whether each side has latents of its own: always."""
        return True

    @property
    def foldable(self) -> bool:
        """Whether linear maps of its own encode and decode each side: always."""
        return True

    @property
    def starts_at_components(self) -> bool:
        """Whether its directions begin as principal components."""
        return self.start == "components"

    @property
    def latents_of_images(self) -> ImageLevelOptions | None:
        """What its latents of whole images are, if it has any."""
        return self.image_level

    @property
    def shared_width(self) -> int:
        """Number of shared latents, K_s."""
        return max(1, round(self.latents * self.shared_ratio))

    @property
    def private_width(self) -> int:
        """Number of private latents per side, K_p."""
        return self.latents - self.shared_width

    @property
    def term_weights(self) -> dict[str, float]:
        """The weight of every loss term in the total (3.4)."""
        return {
            "self_vision": self.alpha,
            "self_text": self.alpha,
            "alignment": self.beta,
            "cross_vision": self.gamma,
            "cross_text": self.gamma,
            "contrast": self.contrast.weight,
            "balance": self.balance.weight,
            "l1_shared": self.lambda_shared,
            "l1_private": self.lambda_private,
            "budget_vision": self.jump_relu.weight,
            "budget_text": self.jump_relu.weight,
            "auxiliary_vision": self.auxiliary.coefficient,
            "auxiliary_text": self.auxiliary.coefficient,
        }

    @property
    def needs_plan(self) -> bool:
        """Whether any loss term uses the transport plan."""
        return self.gamma > 0 or self.aligns_by("transport_cost")

    def aligns_by(self, alignment: Alignment) -> bool:
        """Whether the alignment loss is this one and has a weight."""
        return self.alignment == alignment and self.beta > 0

    @model_validator(mode="after")
    def _components_are_of_what_is_read(self) -> Self:
        if self.starts_at_components and self.whitening:
            raise ValueError(
                "start: components are directions of what is read, and whitening learns from something else; leave it "
                "out, or let start be random"
            )
        return self

    @model_validator(mode="after")
    def _codes_have_a_sign(self) -> Self:
        if self.activation != "top_k" and not self.relu:
            raise ValueError(
                f"relu: {self.activation} keeps codes above a threshold of 0 or more; leave relu on"
            )
        return self

    @model_validator(mode="after")
    def _budgets_fit(self) -> Self:
        if self.private_width == 0:
            budgets = [("k_shared + k_private", self.k_shared + self.k_private, "latents", self.latents)]
        else:
            budgets = [
                ("k_shared", self.k_shared, "shared latents", self.shared_width),
                ("k_private", self.k_private, "private latents", self.private_width),
            ]
        for key, budget, part, width in budgets:
            if budget > width:
                raise ValueError(
                    f"{key} = {budget} is more than the {width} {part} of latents = {self.latents} at "
                    f"shared_ratio = {self.shared_ratio}; lower {key} or raise latents"
                )
        if self.image_level and self.image_level.latents > self.private_width:
            raise ValueError(
                f"image_level.latents = {self.image_level.latents} is more than the {self.private_width} private "
                "latents of text that it takes them from; lower it, or shared_ratio"
            )
        return self
