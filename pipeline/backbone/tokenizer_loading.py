"""From a model's configuration to its tokenizer, refusing one that was made for another text tower."""

from pathlib import Path
from typing import Any

from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

from pipeline.backbone.configuration import Configuration
from pipeline.backbone.hub import hub_folder
from pipeline.backbone.refusal import first_line
from pipeline.backbone.tokenizer import CaptionTokenizer, ClipTokenizer, HuggingFaceTokenizer
from pipeline.errors import BackboneError

_NEEDED = ("tokenizer.json", "tokenizer_config.json")
_OPTIONAL = ("special_tokens_map.json", "added_tokens.json", "config.json")

_SAFE = {"trust_remote_code": False, "local_files_only": True}
"""Whatever a folder says, its own code is never run, nor is anybody asked whether it may."""


_NO_WORDS = "qzxv \u2603 qzxvq"


def load_tokenizer(configuration: Configuration, context_length: int, key: str) -> CaptionTokenizer:
    """The tokenizer of an open_clip model.

    Args:
        configuration: the model that brings it.
        context_length: tokens of the text tower that reads it.
        key: the option that names the model.

    Raises:
        BackboneError: it is not on this machine and cannot be fetched, or cannot be used.
    """
    text = configuration.model["text_cfg"]
    settings = text.get("tokenizer_kwargs") or {}
    where = f"{key}: the tokenizer of {configuration.name}"
    if settings.get("reduction_mask"):
        raise BackboneError(
            f"{where}: text_cfg.tokenizer_kwargs.reduction_mask is {settings['reduction_mask']!r}, which cuts long "
            "captions at random; remove it, as it is meant for training"
        )
    source = _folder(configuration, text["hf_tokenizer_name"], key) if text.get("hf_tokenizer_name") else None
    try:
        tokenizer = _loaded(source, context_length, text.get("tokenizer_mode"), settings)
        # Cuts and pads a caption, and does neither, of nothing and of words that no vocabulary has.
        _ = tokenizer.identity, tokenizer.count_tokens(["", _NO_WORDS])
    except MemoryError:
        raise
    except Exception as error:  # of transformers', tokenizers' and open_clip's many kinds
        raise BackboneError(
            f"{where} cannot be used: {first_line(error)}; it has to be one that transformers loads without code of "
            f"its own, with a padding token, from {' and '.join(_NEEDED)}"
        ) from error
    return tokenizer


def refuse_other_tokenizer(
    tokenizer: CaptionTokenizer, source: Configuration, model: Configuration, *, trained: bool
) -> None:
    """Refuse a tokenizer whose token ids mean something else to the text tower.

    A tower with random weights was trained with none, and takes any whose ids it knows. A trained one takes its own,
    or that of a model whose configuration states the same tokenizer, of as many tokens as the tower knows.

    Args:
        tokenizer: what cuts captions.
        source: the model that the tokenizer is from.
        model: the model that reads its ids.
        trained: whether the model's weights are trained.

    Raises:
        BackboneError: the tokenizer is not, or cannot be shown to be, the one that the tower was made for.
    """
    known = model.architecture["text_cfg"]["vocab_size"]
    tokens = tokenizer.vocabulary_size
    if tokens > known:
        raise BackboneError(
            f"backbone.tokenizer: {source.name} has {tokens} tokens, but the text tower of {model.name} knows {known}; "
            "choose the tokenizer that the model was trained with"
        )
    if trained and source != model and (tokens != known or _stated(source) != _stated(model)):
        raise BackboneError(
            f"backbone.tokenizer: {source.name} has {tokens} tokens and states {_stated(source)}, but the text tower "
            f"of {model.name} knows {known} and states {_stated(model)}: its token ids would mean other words; choose "
            "a model that states the same tokenizer, or leave the option out to take the model's own"
        )


def _folder(configuration: Configuration, name: str, key: str) -> Path:
    folder = configuration.folder
    if folder is None:
        return hub_folder(name, _NEEDED, _OPTIONAL, key)
    for file in _NEEDED:
        if not (folder / file).is_file():
            raise BackboneError(
                f"{key}: {folder} holds no {file}, but {configuration.where} states text_cfg.hf_tokenizer_name; put "
                "there what the tokenizer's save_pretrained writes"
            )
    return folder


def _loaded(
    folder: Path | None, context_length: int, mode: str | None, settings: dict[str, Any]
) -> CaptionTokenizer:
    if folder is None:
        return ClipTokenizer(SimpleTokenizer(context_length=context_length, **settings), context_length)
    settings = {**settings, **_SAFE, "context_length": context_length, "tokenizer_mode": mode}
    return HuggingFaceTokenizer(HFTokenizer(str(folder), **settings), context_length)


def _stated(configuration: Configuration) -> str:
    text = configuration.model["text_cfg"]
    name = text.get("hf_tokenizer_name") or "CLIP's own"
    parts = [str(part) for key in ("tokenizer_mode", "tokenizer_kwargs") if (part := text.get(key))]
    return " ".join([name, *parts])
