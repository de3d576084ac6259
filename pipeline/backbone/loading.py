"""From options to a frozen backbone, refusing what open_clip does not know or would silently draw or guess."""

import logging
import os

import open_clip
import torch

from cache import shown_value
from pipeline.backbone.configuration import Configuration, read_configuration, refuse_other_kinds
from pipeline.backbone.model import Backbone, Layers, Model, chosen_layers
from pipeline.backbone.options import RANDOM, BackboneOptions
from pipeline.backbone.preprocessing import Preprocessing, stated_preprocessing
from pipeline.backbone.refusal import first_line
from pipeline.backbone.tokenizer import CaptionTokenizer
from pipeline.backbone.tokenizer_loading import load_tokenizer, refuse_other_tokenizer
from pipeline.backbone.weights import load_weights, refuse_stand_in
from pipeline.backbone.weights_source import WeightsSource, find_weights, weights_source
from pipeline.errors import BackboneError

_ONEDNN_MODE = "ONEDNN_DEFAULT_FPMATH_MODE"


def load_backbone(options: BackboneOptions) -> Backbone:
    """Load the model that the options name, frozen, on its device.

    Random weights are a choice, never an accident: they need `weights: random`, and are drawn from `seed`.

    Raises:
        BackboneError: the model, its weights, its preprocessing or its tokenizer is unknown or does not fit, or the
            process is set to compute float32 in a shorter format.
    """
    configuration, source, preprocessing = _stated(options)
    _refuse_device(options.device)
    _refuse_shorter_products(options.precision)
    tokenizer = _tokenizer(configuration, options)
    model = _model(configuration, options, preprocessing, source)
    return Backbone(model, configuration, tokenizer, options)


def check_backbone(options: BackboneOptions) -> None:
    """Look for all that the options name, and load no weights.

    Raises:
        BackboneError: as `load_backbone`, as far as it can be known beforehand.
    """
    configuration, source, _ = _stated(options)
    _check_layer(configuration, options)
    if source is not None and configuration.folder is not None:
        find_weights(configuration, source)
    if options.tokenizer is not None:
        read_configuration(options.tokenizer, "backbone.tokenizer")


def _check_layer(configuration: Configuration, options: BackboneOptions) -> None:
    """Refuse a layer that a tower lacks, as far as the configuration tells: of timm's it states no blocks."""
    vision, text = (configuration.architecture[part] for part in ("vision_cfg", "text_cfg"))
    blocks = Layers(text["layers"] if vision["timm_model_name"] else vision["layers"], text["layers"])
    chosen_layers(blocks, options.layer, f"backbone.model: {configuration.where}")


def _stated(options: BackboneOptions) -> tuple[Configuration, WeightsSource | None, Preprocessing]:
    """The model's configuration, where its weights come from unless they are random, and its preprocessing."""
    configuration = read_configuration(options.model, "backbone.model")
    refuse_other_kinds(configuration)
    source = None if options.weights == RANDOM else weights_source(configuration, options.weights)
    tag = source.tag if source else None
    return configuration, source, stated_preprocessing(configuration, tag, trained=source is not None)


def _refuse_device(device: str) -> None:
    try:
        torch.zeros(1, device=device).item()  # of the device `meta` nothing can be read
    except (RuntimeError, AssertionError) as error:
        raise BackboneError(
            f"backbone.device: {device!r} cannot be used: {first_line(error)}; use cpu, or the name of a device that "
            "is here"
        ) from error


def _refuse_shorter_products(precision: str) -> None:
    """Refuse settings of this process by which float32 matrices are multiplied in a shorter format.

    They move activations as another `precision` does, and nothing in the model or its options tells.
    """
    if precision != "fp32":
        return
    products, onednn = torch.get_float32_matmul_precision(), os.environ.get(_ONEDNN_MODE, "STRICT")
    if products != "highest":
        raise BackboneError(
            f"backbone.precision: is fp32, but torch multiplies float32 with {products!r} precision in this process; "
            "call torch.set_float32_matmul_precision('highest'), or choose bf16"
        )
    if onednn.upper() != "STRICT":
        raise BackboneError(
            f"backbone.precision: is fp32, but {_ONEDNN_MODE} is {shown_value(onednn)} in the environment, by which "
            "oneDNN shortens float32; unset it, or choose bf16"
        )


def _tokenizer(configuration: Configuration, options: BackboneOptions) -> CaptionTokenizer:
    context_length = configuration.architecture["text_cfg"]["context_length"]
    if options.tokenizer is None:
        source, key = configuration, "backbone.model"
    else:
        source, key = read_configuration(options.tokenizer, "backbone.tokenizer"), "backbone.tokenizer"
    tokenizer = load_tokenizer(source, context_length, key)
    refuse_other_tokenizer(tokenizer, source, configuration, trained=options.weights != RANDOM)
    return tokenizer


def _model(
    configuration: Configuration,
    options: BackboneOptions,
    preprocessing: Preprocessing,
    source: WeightsSource | None,
) -> Model:
    if source is not None:
        file = find_weights(configuration, source)
        refuse_stand_in(file, source.key)
        model = _built(configuration, options, preprocessing)
        load_weights(model, file, source.key)
        return model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return _built(configuration, options, preprocessing)


def _built(configuration: Configuration, options: BackboneOptions, preprocessing: Preprocessing) -> Model:
    """The model with the weights that its modules draw for themselves."""
    timm = bool(configuration.model["vision_cfg"].get("timm_model_name"))
    # open_clip keeps some tensors of its own towers in float32 otherwise, and stumbles over a projection with a bias.
    pure = "" if timm or options.precision == "fp32" else "pure_"
    quiet = logging.getLogger()
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # open_clip warns about random weights, which are asked for or filled here.
    try:
        model: Model = open_clip.create_model(
            configuration.architecture_source,
            precision=pure + options.precision,
            device=options.device,
            load_weights=False,
            pretrained_text=False,
            force_preprocess_cfg={key: value for key, value in preprocessing.items() if key != "size"},
        )
    except MemoryError:
        raise
    except Exception as error:  # of torch's, timm's and open_clip's kinds
        raise BackboneError(
            f"backbone.model: {configuration.where} cannot be built: {first_line(error)}; correct its configuration, "
            "or choose another model"
        ) from error
    finally:
        quiet.setLevel(level)
    return model
