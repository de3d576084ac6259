"""The frozen two-tower backbone: any open_clip model, through open_clip's own intermediate-output API.

A backbone turns pictures into patch tokens and captions into text tokens. Tokens are the output of one
transformer block with the tower's final norm applied; pooled embeddings are the model's own image and text
features as it outputs them, not scaled to unit length.
"""

import difflib
import hashlib
import logging
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import open_clip
import torch
from jaxtyping import Bool, Float, Int64
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.timm_model import TimmModel
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import VisionTransformer
from PIL import Image
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.config import Options
from pipeline.errors import BackboneError

LOCAL, HUB = "local-dir:", "hf-hub:"
RANDOM = "random"
Model: TypeAlias = CLIP | CustomTextCLIP


class BackboneOptions(Options):
    """Which model encodes, with which weights, and which of its layers is cached."""

    model: str = Field(
        default="local-dir:models/tiny-siglip",
        description="an open_clip model: a built-in name, local-dir:FOLDER or hf-hub:OWNER/NAME",
    )
    weights: str | None = Field(
        default=None,
        description="of a built-in name: a pretrained tag or a file; 'random' for random weights; else null",
    )
    tokenizer: str | None = Field(
        default=None,
        description="take the tokenizer of this open_clip model instead of the model's own",
    )
    layer: Literal["last"] | int = Field(
        default="last", description="block whose output is cached, in both towers; counted as Python does"
    )
    device: str = Field(default="cpu", description="torch device of the forward pass")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="number format of the weights and of the forward pass"
    )
    seed: int = Field(default=0, ge=0, description="seed of random weights")


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
    """

    def __init__(self, model: Model, options: BackboneOptions, weights_sha256: str) -> None:
        self._model = model.eval().requires_grad_(False)
        self._device = torch.device(options.device)
        self._dtype = next(model.visual.parameters()).dtype
        self._layer = -1 if options.layer == "last" else options.layer
        self.context_length = int(model.context_length)
        self._tokenizer = _load_tokenizer(options, self.context_length)
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
        if not texts:
            empty = torch.zeros(0, self.context_length, dtype=torch.int64)
            return empty, empty.bool()
        ids = self._tokenizer(texts, context_length=self.context_length)
        return ids, self._valid(ids)

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Tokens of each text before any are cut, special tokens included.

        A text is cut when its count exceeds `context_length`.
        """
        if isinstance(self._tokenizer, HFTokenizer):
            cleaned = [self._tokenizer.clean_fn(text) for text in texts]
            return [len(ids) for ids in self._tokenizer.tokenizer(cleaned).input_ids] if texts else []
        return [len(self._tokenizer.encode(text)) + 2 for text in texts]

    def token_texts(self, token_ids: Int64[Tensor, "token"] | list[int]) -> list[str]:
        """What each token id stands for, as the tokenizer spells it."""
        ids = [int(token_id) for token_id in token_ids]
        if isinstance(self._tokenizer, HFTokenizer):
            pieces: list[str] = self._tokenizer.tokenizer.convert_ids_to_tokens(ids)
            return pieces
        return [self._tokenizer.decoder[token_id].removesuffix("</w>") for token_id in ids]

    @torch.inference_mode()
    def encode_images(self, pixels: Float[Tensor, "image 3 height width"]) -> Activations:
        """Patch tokens and image embeddings, float32, on the backbone's device."""
        output = self._model.forward_intermediates(
            image=pixels.to(self._device, self._dtype, non_blocking=True),
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
            text=token_ids.to(self._device, non_blocking=True),
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
        tokens = tokens.to(self._device, self._dtype)
        if isinstance(visual, VisionTransformer):
            embedded = tokens if visual.proj is None else tokens @ visual.proj
            return normalize(embedded.float(), dim=-1)
        alone = tokens.flatten(0, 1)[:, None].expand(-1, 1 + visual.trunk.num_prefix_tokens, -1)
        embedded = visual.head(visual.trunk.forward_head(alone))
        return normalize(embedded.float(), dim=-1).view(*tokens.shape[:2], -1)

    @property
    def _indices(self) -> list[int]:
        return [self._layer]

    def _valid(self, ids: Int64[Tensor, "caption context"]) -> Bool[Tensor, "caption context"]:
        if isinstance(self._tokenizer, HFTokenizer):
            valid: Tensor = ids != self._tokenizer.tokenizer.pad_token_id
            return valid
        # CLIP's tokenizer pads with the id of "!": only the end token tells where a caption ends.
        end: Tensor = torch.argmax((ids == self._tokenizer.eot_token_id).int(), dim=1, keepdim=True)
        return torch.arange(ids.shape[1]) <= end

    def _check_layer(self, options: BackboneOptions) -> None:
        blocks = min(_vision_blocks(self._model.visual), _text_blocks(self._model))
        if not -blocks <= self._layer < blocks:
            raise BackboneError(
                f"backbone.layer: {options.model} has {blocks} blocks in its shorter tower, "
                f"so the layer must be 'last' or from {-blocks} to {blocks - 1} (got {options.layer})"
            )

    def _check_vocabulary(self, options: BackboneOptions) -> None:
        tokens = (
            len(self._tokenizer.tokenizer)
            if _is_hugging_face(self._tokenizer)
            else self._tokenizer.vocab_size
        )
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
                "sha256": _tokenizer_sha256(self._tokenizer),
                "context_length": self.context_length,
            },
        }


def load_backbone(options: BackboneOptions) -> Backbone:
    """Load the model that the options name, frozen, on its device.

    Random weights are a choice, never an accident: they need `weights: random`, and are drawn from `seed`.

    Raises:
        BackboneError: the model, its weights or its tokenizer is unknown or does not fit.
    """
    if options.weights == RANDOM:
        model, source = _random_model(options), f"random seed {options.seed}"
    else:
        model = _pretrained_model(options)
        source = _weights_sha256(model)
    visual = model.visual
    usable = isinstance(visual, TimmModel) or (
        isinstance(visual, VisionTransformer) and visual.attn_pool is None
    )
    if not usable:
        raise BackboneError(
            f"backbone.model: {options.model} has no patch tokens that its head can pool one by one; "
            "choose a model with a ViT vision tower, such as ViT-B-16-SigLIP"
        )
    return Backbone(model, options, source)


def _random_model(options: BackboneOptions) -> Model:
    _check_known(options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return _create(options, load_weights=False, pretrained_text=False)


def _pretrained_model(options: BackboneOptions) -> Model:
    _check_known(options)
    own_weights = options.model.startswith((LOCAL, HUB))
    if own_weights and options.weights is not None:
        raise BackboneError(
            f"backbone.weights: {options.model} brings its own weights; set weights to null, "
            f"or to '{RANDOM}' for random ones (got {options.weights!r})"
        )
    if not own_weights:
        _check_weights(options)
    return _create(options, pretrained=options.weights, require_pretrained=True)


def _create(options: BackboneOptions, **arguments: Any) -> Model:
    quiet = logging.getLogger()
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # open_clip warns about random weights, which are asked for by name here.
    try:
        model: Model = open_clip.create_model(
            options.model, precision=options.precision, device=options.device, **arguments
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise BackboneError(f"backbone.model: {options.model} cannot be loaded: {reason}") from error
    finally:
        quiet.setLevel(level)
    return model


def _check_known(options: BackboneOptions) -> None:
    name = options.model
    if name.startswith(LOCAL):
        folder = Path(name.removeprefix(LOCAL))
        if not (folder / "open_clip_config.json").is_file():
            raise BackboneError(
                f"backbone.model: {folder} holds no open_clip_config.json; give the folder of an open_clip model"
            )
    elif not name.startswith(HUB) and name not in open_clip.list_models():
        close = difflib.get_close_matches(name, open_clip.list_models(), n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "open_clip.list_models() names them all"
        raise BackboneError(f"backbone.model: open_clip has no model {name!r}; {hint}")


def _check_weights(options: BackboneOptions) -> None:
    tags = open_clip.list_pretrained_tags_by_model(options.model)
    if options.weights is None:
        raise BackboneError(
            f"backbone.weights: {options.model} needs weights: one of {', '.join(tags) or 'no tags'}, "
            f"the path of a file, or '{RANDOM}' to ask for random weights"
        )
    if options.weights not in tags and not Path(options.weights).is_file():
        raise BackboneError(
            f"backbone.weights: {options.weights!r} is neither a file nor a tag of {options.model}; its tags are "
            f"{', '.join(tags) or 'none'}, and '{RANDOM}' asks for random weights"
        )


def _load_tokenizer(options: BackboneOptions, context_length: int) -> Any:
    name = options.tokenizer or options.model
    try:
        return open_clip.get_tokenizer(name, context_length=context_length)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BackboneError(
            f"backbone.tokenizer: the tokenizer of {name} cannot be loaded ({reason}); name a model whose tokenizer is "
            "on this machine, such as local-dir:models/tiny-siglip"
        ) from error


def _is_hugging_face(tokenizer: Any) -> bool:
    return isinstance(tokenizer, HFTokenizer)


def _tokenizer_sha256(tokenizer: Any) -> str:
    if _is_hugging_face(tokenizer):
        pieces = sorted(tokenizer.tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    else:
        pieces = sorted(tokenizer.encoder.items(), key=lambda entry: entry[1])
    return hashlib.sha256("\n".join(piece for piece, _ in pieces).encode()).hexdigest()


def _weights_sha256(model: Model) -> str:
    """SHA-256 over all tensors in the order of their names: the same however the weights were stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
