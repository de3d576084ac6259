"""A frozen model with its preprocessing and tokenizer: pictures to patch tokens, captions to text tokens.

Tokens are the output of one transformer block with the tower's final norm applied; pooled embeddings are the model's
own image and text features as it outputs them, not scaled to unit length.
"""

from collections.abc import Collection
from typing import Any, NamedTuple, TypeAlias

import open_clip
import torch
from jaxtyping import Bool, Float, Int64
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.timm_model import TimmModel
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import VisionTransformer
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.backbone.options import BackboneOptions
from pipeline.backbone.spelling import Spelling
from pipeline.backbone.tokenizer import load_tokenizer
from pipeline.errors import BackboneError

Model: TypeAlias = CLIP | CustomTextCLIP


class Activations(NamedTuple):
    """One side of a batch: a vector per token, and one for the whole, in the space both sides share."""

    tokens: Float[Tensor, "item token channel"]
    pooled: Float[Tensor, "item embedding"]


class Backbone:
    """A frozen model with its preprocessing and tokenizer; make one with `load_backbone`.

    Attributes:
        identity: plain JSON that says exactly what produced an activation.
        grid: rows and columns of patches; `patches` is their product.
        vision_channels, text_channels: width of a patch token and of a text token.
        embedding: width of a pooled embedding, the same on both sides.
        context_length: tokens of a tokenized caption, padding included.
        device: where it runs.
    """

    def __init__(self, model: Model, options: BackboneOptions, weights_sha256: str) -> None:
        self._model = model.eval().requires_grad_(False)
        self.device = torch.device(options.device)
        self._dtype = next(model.visual.parameters()).dtype
        self._layer = -1 if options.layer == "last" else options.layer
        self.context_length = int(model.context_length)
        self._tokenizer = load_tokenizer(options.tokenizer or options.model, self.context_length)
        self.grid = _patch_grid(model.visual, options.model)
        self.patches = self.grid[0] * self.grid[1]
        self._check_layer(options)
        self._preprocess_config = open_clip.get_model_preprocess_cfg(model)
        self._transform = image_transform_v2(PreprocessCfg(**self._preprocess_config), is_train=False)
        self._measure()
        self._check_vocabulary(options)
        self.identity = self._describe(options, weights_sha256)

    def preprocess(self, image: Image.Image) -> Float[Tensor, "3 height width"]:
        """The picture as the model wants it: RGB, resized, normalised; float32."""
        pixels: Tensor = self._transform(image)
        return pixels

    def tokenize(
        self, texts: list[str]
    ) -> tuple[Int64[Tensor, "caption context"], Bool[Tensor, "caption context"]]:
        """Token ids, cut and padded to the context length, and which of them are not padding.

        Where the end token doubles as padding (SigLIP), it is not valid either: valid tokens are words.
        """
        return self._tokenizer.tokenize(texts)

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Tokens of each text before any are cut, special tokens included.

        A text is cut when its count exceeds `context_length`.
        """
        return self._tokenizer.count_tokens(texts)

    def spelling(self, token_ids: Int64[Tensor, "token"]) -> Spelling:
        """How the tokens of one text, without padding, spell it: its words, each decoded as a whole."""
        return self._tokenizer.spelling(token_ids.tolist())

    def occurrences(self, token_ids: Int64[Tensor, "token"], terms: Collection[str]) -> list[int]:
        """Positions of the tokens of one text that write any of `terms`, as whole words, in any case; sorted."""
        return self._tokenizer.occurrences(token_ids.tolist(), terms)

    @torch.inference_mode()
    def encode_images(self, pixels: Float[Tensor, "image 3 height width"]) -> Activations:
        """Patch tokens and image embeddings, float32, on the backbone's device."""
        output = self._model.forward_intermediates(
            image=pixels.to(self.device, non_blocking=True).to(self._dtype),
            image_indices=self._indices,
            normalize=False,
            normalize_intermediates=True,
            image_output_fmt="NLC",
        )
        return Activations(output["image_intermediates"][0].float(), output["image_features"].float())

    @torch.inference_mode()
    def encode_texts(self, token_ids: Int64[Tensor, "caption context"]) -> Activations:
        """Text tokens and caption embeddings, float32, on the backbone's device."""
        output = self._model.forward_intermediates(
            text=token_ids.to(self.device, non_blocking=True),
            text_indices=self._indices,
            normalize=False,
            normalize_intermediates=True,
        )
        return Activations(output["text_intermediates"][0].float(), output["text_features"].float())

    @torch.inference_mode()
    def patch_embeddings(
        self, tokens: Float[Tensor, "image patch channel"]
    ) -> Float[Tensor, "image patch embedding"]:
        """Each patch alone through the model's pooling head and projection, at unit length.

        The result is comparable to `encode_texts(...).pooled`. Pooling that averages or attends returns a
        lone token's own value, also when the token is repeated to stand in for the prefix tokens that some
        heads expect.
        """
        visual = self._model.visual
        tokens = tokens.to(self.device, self._dtype)
        if isinstance(visual, VisionTransformer):
            embedded = tokens if visual.proj is None else tokens @ visual.proj
            return normalize(embedded.float(), dim=-1)
        alone = tokens.flatten(0, 1)[:, None].expand(-1, 1 + visual.trunk.num_prefix_tokens, -1)
        embedded = visual.head(visual.trunk.forward_head(alone))
        return normalize(embedded.float(), dim=-1).view(*tokens.shape[:2], -1)

    @property
    def _indices(self) -> list[int]:
        return [self._layer]

    def _check_layer(self, options: BackboneOptions) -> None:
        blocks = min(_vision_blocks(self._model.visual), _text_blocks(self._model))
        if not -blocks <= self._layer < blocks:
            raise BackboneError(
                f"backbone.layer: {options.model} has {blocks} blocks in its shorter tower, "
                f"so the layer must be 'last' or from {-blocks} to {blocks - 1} (got {options.layer})"
            )

    def _check_vocabulary(self, options: BackboneOptions) -> None:
        tokens = self._tokenizer.vocabulary_size
        if tokens > self._model.vocab_size:
            raise BackboneError(
                f"backbone.tokenizer: {options.tokenizer or options.model} has {tokens} tokens, but the text tower of "
                f"{options.model} knows {self._model.vocab_size}; choose the tokenizer that the model was trained with"
            )

    def _measure(self) -> None:
        size = _pair(self._preprocess_config["size"])
        vision = self.encode_images(torch.zeros(1, 3, *size))
        text = self.encode_texts(torch.zeros(1, self.context_length, dtype=torch.int64))
        self.vision_channels, self.embedding = vision.tokens.shape[-1], vision.pooled.shape[-1]
        self.text_channels = text.tokens.shape[-1]

    def _describe(self, options: BackboneOptions, weights_sha256: str) -> dict[str, Any]:
        config = self._preprocess_config
        return {
            "model": options.model,
            "weights_sha256": weights_sha256,
            "layer": options.layer,
            "precision": options.precision,
            "preprocessing": {
                "image_size": list(_pair(config["size"])),
                "mean": list(config["mean"]),
                "std": list(config["std"]),
                "interpolation": config["interpolation"],
                "resize_mode": config["resize_mode"],
            },
            "tokenizer": {
                "name": options.tokenizer or options.model,
                "sha256": self._tokenizer.sha256,
                "context_length": self.context_length,
            },
        }


def _patch_grid(visual: VisionTransformer | TimmModel, name: str) -> tuple[int, int]:
    grid = visual.grid_size if isinstance(visual, VisionTransformer) else _trunk_grid(visual)
    if grid is None:
        raise BackboneError(
            f"backbone.model: the vision tower of {name} has no fixed grid of patches; "
            "choose a model with a ViT vision tower, such as ViT-B-16-SigLIP"
        )
    rows, columns = grid
    return int(rows), int(columns)


def _trunk_grid(visual: VisionTransformer | TimmModel) -> tuple[int, int] | None:
    return getattr(getattr(visual.trunk, "patch_embed", None), "grid_size", None)


def _vision_blocks(visual: VisionTransformer | TimmModel) -> int:
    if isinstance(visual, VisionTransformer):
        return len(visual.transformer.resblocks)
    return len(visual.trunk.blocks)


def _text_blocks(model: Model) -> int:
    text = model.text if isinstance(model, CustomTextCLIP) else model
    return len(text.transformer.resblocks)


def _pair(size: Any) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)
