"""A frozen model with its preprocessing and tokenizer: pictures to patch tokens, captions to text tokens.

Tokens are the output of one transformer block with the tower's final norm applied; pooled embeddings are the model's
own image and text features as it outputs them, not scaled to unit length.
"""

import json
from collections.abc import Collection
from typing import Any, Literal, NamedTuple, TypeAlias

import open_clip
import torch
from jaxtyping import Bool, Float, Int64
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.timm_model import TimmModel
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import VisionTransformer
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from pipeline.backbone.configuration import Configuration
from pipeline.backbone.options import RANDOM, BackboneOptions
from pipeline.backbone.preprocessing import refuse_other_size
from pipeline.backbone.refusal import first_line
from pipeline.backbone.spelling import Spelling
from pipeline.backbone.tokenizer import CaptionTokenizer
from pipeline.backbone.weights import weights_sha256
from pipeline.errors import BackboneError

Model: TypeAlias = CLIP | CustomTextCLIP

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_REMEDY = "choose a model with a ViT vision tower, such as ViT-B-16-SigLIP"


class Layers(NamedTuple):
    """A number for each tower: of blocks, or of a block counted from the front."""

    vision: int
    text: int


class Activations(NamedTuple):
    """One side of a batch: a vector per token, and one for the whole, in the space both sides share."""

    tokens: Float[Tensor, "item token channel"]
    pooled: Float[Tensor, "item embedding"]


class Backbone:
    """A frozen model with its preprocessing and tokenizer; make one with `load_backbone`.

    Attributes:
        identity: plain JSON that says exactly what produced an activation, wherever the model lies.
        grid: rows and columns of patches; `patches` is their product.
        vision_channels, text_channels: width of a patch token and of a text token.
        embedding: width of a pooled embedding, the same on both sides.
        context_length: tokens of a tokenized caption, padding included.
        device: where it runs.
    """

    def __init__(
        self,
        model: Model,
        configuration: Configuration,
        tokenizer: CaptionTokenizer,
        options: BackboneOptions,
    ) -> None:
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._where = f"backbone.model: {configuration.where}"
        self.device = torch.device(options.device)
        self._dtype = _DTYPES[options.precision]
        self.context_length = int(model.context_length)
        self.grid = _patch_grid(model.visual, self._where)
        self.patches = self.grid[0] * self.grid[1]
        blocks = Layers(_vision_blocks(model.visual), _text_blocks(model))
        self._layers = chosen_layers(blocks, options.layer, self._where)
        self._preprocess_config = open_clip.get_model_preprocess_cfg(model)
        self._transform = image_transform_v2(PreprocessCfg(**self._preprocess_config), is_train=False)
        refuse_other_size(configuration, _pair(self._preprocess_config["size"]))
        self._measure()
        self.identity = self._describe(configuration, options)

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
            image_indices=[self._layers.vision],
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
            text_indices=[self._layers.text],
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

    def _measure(self) -> None:
        size = _pair(self._preprocess_config["size"])
        try:
            vision = self.encode_images(torch.zeros(1, 3, *size))
            text = self.encode_texts(self.tokenize([""])[0])
            patches = self.patch_embeddings(vision.tokens)
        except MemoryError:
            raise
        except Exception as error:  # of torch's, timm's and open_clip's kinds
            raise BackboneError(
                f"{self._where}: its towers cannot read a picture of {size[0]} x {size[1]} pixels and a caption of "
                f"{self.context_length} tokens in {str(self._dtype).removeprefix('torch.')}: {first_line(error)}; "
                f"correct the sizes in its configuration, or {_REMEDY}"
            ) from error
        self.vision_channels, self.embedding = vision.tokens.shape[-1], vision.pooled.shape[-1]
        self.text_channels = text.tokens.shape[-1]
        found = {
            "patch tokens": vision.tokens,
            "patch embeddings": patches,
            "image": vision.pooled,
            "text": text.pooled,
        }
        shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
        if shapes != {
            "patch tokens": (1, self.patches, self.vision_channels),
            "patch embeddings": (1, self.patches, self.embedding),
            "image": (1, self.embedding),
            "text": (1, self.embedding),
        }:
            raise BackboneError(
                f"{self._where}: its patches are {self.grid[0]} x {self.grid[1]}, which does not fit what it computes "
                f"of one pair: {shapes}; correct model_cfg.vision_cfg.image_size, or {_REMEDY}"
            )

    def _describe(self, configuration: Configuration, options: BackboneOptions) -> dict[str, Any]:
        drawn = ", random weights" if options.weights == RANDOM else ""
        described = {
            "model": configuration.towers + drawn,
            "architecture": configuration.architecture,
            "weights_sha256": weights_sha256(self._model),
            "layer": self._layers._asdict(),
            "precision": options.precision,
            "preprocessing": {**self._preprocess_config, "size": _pair(self._preprocess_config["size"])},
            "tokenizer": self._tokenizer.identity,
        }
        plain: dict[str, Any] = json.loads(json.dumps(described))
        return plain


def chosen_layers(blocks: Layers, layer: Literal["last"] | int, where: str) -> Layers:
    """The block that `layer` means in each tower, counted from the front.

    Args:
        blocks: how many each tower has.
        layer: the option.
        where: the model, for the message.

    Raises:
        BackboneError: a tower does not have it.
    """
    index, fewest = -1 if layer == "last" else layer, min(blocks)
    if not -fewest <= index < fewest:
        raise BackboneError(
            f"backbone.layer: {where} has {fewest} blocks in its shorter tower, so the layer must be 'last' or from "
            f"{-fewest} to {fewest - 1} (got {layer})"
        )
    return Layers(*(index % count for count in blocks))


def _patch_grid(visual: nn.Module, where: str) -> tuple[int, int]:
    if isinstance(visual, VisionTransformer):
        grid = visual.grid_size
    else:
        grid = getattr(getattr(visual.trunk, "patch_embed", None), "grid_size", None)
    if grid is None or (not hasattr(visual, "transformer") and not hasattr(visual.trunk, "blocks")):
        raise BackboneError(f"{where}: its vision tower has no fixed grid of patches; {_REMEDY}")
    rows, columns = grid
    return int(rows), int(columns)


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
