"""What can be known about the options before any work starts: `concord check`, and the start of every stage under DVC.

Options are typed and in range once they are loaded. Here they meet what is outside of them: each other's names, files,
the machine, and the graph.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from cache import ActivationCache, CacheError, shown_text, shown_value
from pipeline.config import nearest
from pipeline.datasets.layouts import find_split
from pipeline.datasets.options import DatasetOptions
from pipeline.datasets.strict_json import parse_json
from pipeline.errors import ConcordError, ConfigError, os_error_reason
from pipeline.interpretation.cluster_embeddings import BACKBONE
from pipeline.interpretation.concept_list import load_concept_list
from pipeline.language_models.options import StateOptions
from pipeline.params import Params
from pipeline.training.loop import resolve_device
from stages.graph_check import graph_problems
from stages.paths import COMPANIONS, SCENES, STUDY_PARAMS, cache_path
from stages.study_options import study_options

NEEDED_SPLITS = ("train", "val")
"""Those that are trained and measured on."""

LOCAL, HUB = "local-dir:", "hf-hub:"

DRAWN = {SCENES: ("train", "val", "ood"), COMPANIONS: NEEDED_SPLITS}
"""The splits of the embedded worlds, by the folder that they are drawn into."""


def refuse_problems(params: Params, path: Path) -> None:
    """Raise a ConfigError that has a line for each of `problems`, if there are any."""
    found = problems(params, path)
    if found:
        raise ConfigError("\n".join(found))


def problems(params: Params, path: Path) -> list[str]:
    """One line for everything that a stage would stumble over, with its key, value and remedy.

    Args:
        params: What `path` holds.
        path: The file of options; `dvc.yaml` beside it is the graph, if there is one.
    """
    checks: tuple[Callable[[Params], Iterable[str]], ...] = (
        _unknown_variants,
        _missing_splits,
        _missing_files,
        _too_few_pairs,
        _absent_devices,
        _missing_data,
    )
    found = [problem for check in checks for problem in check(params)]
    found += _study_problems(params, path.parent / STUDY_PARAMS)
    return found + list(graph_problems(params, path))


def _unknown_variants(params: Params) -> Iterator[str]:
    yield from _unknown("report.variant", [params.report.variant], params.variants)


def _study_problems(params: Params, file: Path) -> Iterator[str]:
    """Names in the file of the study, if there is one, that the options do not have."""
    if not file.exists():
        return
    try:
        study = study_options(file)
    except ConfigError as error:
        yield from (f"{file}: {line}" for line in str(error).splitlines())
        return
    yield from _unknown(f"{file}: candidates", study.candidates, params.variants)
    named = {
        "baseline": [study.baseline],
        "scaled": study.scaled,
        "controlled": study.controlled,
        "classify": study.classify,
        "same_side.variant": [study.same_side.variant],
    }
    for key, names in named.items():
        for name in names:
            if name not in study.candidates:
                yield f"{file}: {key}: {name!r} is no candidate, so nothing trains it; add it there"


def _unknown(key: str, names: Iterable[str], variants: Mapping[str, object]) -> Iterator[str]:
    for name in names:
        if name not in variants:
            known = ", ".join(variants)
            yield f"{key}: no variant {name!r}{nearest(name, variants)}; the variants are {known}"


def _missing_splits(params: Params) -> Iterator[str]:
    parts = {"dataset": params.dataset}
    if params.hallucination and params.hallucination.dataset:
        parts["hallucination.dataset"] = params.hallucination.dataset
    for key, dataset in parts.items():
        for split in NEEDED_SPLITS:
            if split not in dataset.splits:
                known = ", ".join(dataset.splits)
                yield f"{key}.splits: there is no {split}, which later stages need; add it beside {known}"
        yield from _splits_that_are_not_drawn(key, dataset)
    default = type(params.report).model_fields["ood_split"].default
    split, known_splits = params.report.ood_split, params.dataset.splits
    if split not in (default, *known_splits):
        known = ", ".join(known_splits)
        yield f"report.ood_split: no split {split!r}{nearest(split, known_splits)}; the splits are {known}"


def _splits_that_are_not_drawn(key: str, dataset: DatasetOptions) -> Iterator[str]:
    drawn = DRAWN.get(dataset.root)
    for name, split in dataset.splits.items():
        if drawn is not None and split not in drawn:
            yield (
                f"{key}.splits.{name}: {shown_value(split)} is not drawn into {dataset.root}{nearest(split, drawn)}; "
                f"drawn are {', '.join(drawn)}"
            )


def _missing_files(params: Params) -> Iterator[str]:
    yield from _refused(load_concept_list, params.interpret.concepts, key="interpret.concepts: ")
    encoder = params.interpret.cluster_encoder
    if encoder != BACKBONE and find_spec("sentence_transformers") is None:
        yield (
            f"interpret.cluster_encoder: {encoder!r} needs the package sentence-transformers; "
            f"pip install 'concord-sae[sentences]', or leave it at {BACKBONE!r}"
        )
    judge = params.evaluate.judge
    if judge is not None:
        yield from _refused(ActivationCache.open, judge, key="evaluate.judge: ")
    if params.hallucination and not params.hallucination.states.model.startswith(HUB):
        yield from _refused(_check_decoder, params.hallucination.states)


def _check_decoder(states: StateOptions) -> None:
    """Look for the decoder's folder, and for the layer in it as far as its configuration tells."""
    folder = Path(states.model.removeprefix(LOCAL))
    if not os.path.lexists(folder / "config.json"):
        raise ConfigError(
            f"hallucination.states.model: {shown_value(str(folder))} is no folder with a config.json; to download a "
            f"model write {HUB}OWNER/NAME, and without a decoder leave the section hallucination out"
        )
    try:
        config = parse_json((folder / "config.json").read_bytes())
    except ValueError as error:
        raise ConfigError(
            f"hallucination.states.model: {folder / 'config.json'} is no valid JSON ({shown_text(error)}); get it again"
        ) from None
    text = config.get("text_config", config) if isinstance(config, dict) else None
    layers = text.get("num_hidden_layers") if isinstance(text, dict) else None
    if isinstance(layers, int) and states.layer >= layers:
        raise ConfigError(
            f"hallucination.states.layer: {folder} has {layers} decoder layers; choose one from 0 to {layers - 1} "
            f"(got {states.layer})"
        )


def _too_few_pairs(params: Params) -> Iterator[str]:
    """Of the embedded world, whose size is an option itself."""
    if params.dataset.root != SCENES or params.dataset.splits.get("train") != "train":
        return
    recipes = {"train": params.train} | {
        f"variants.{name}.train": one.train for name, one in params.variants.items()
    }
    for key, recipe in recipes.items():
        own = key == "train" or recipe.batch_pairs != params.train.batch_pairs
        if own and recipe.batch_pairs > params.scenes.train and params.dataset.captions_per_image == "one":
            yield (
                f"{key}.batch_pairs: {recipe.batch_pairs} is more than the {params.scenes.train} pairs that "
                "scenes.train draws; lower it"
            )


def _absent_devices(params: Params) -> Iterator[str]:
    devices = {"backbone.device": params.backbone.device, "train.device": params.train.device}
    for name, variant in params.variants.items():
        if variant.train.device != params.train.device:
            devices[f"variants.{name}.train.device"] = variant.train.device
    if params.hallucination:
        devices["hallucination.states.device"] = params.hallucination.states.device
        devices["hallucination.train.device"] = params.hallucination.train.device
    for key, device in devices.items():
        yield from _refused(resolve_device, device, key)


def _missing_data(params: Params) -> Iterator[str]:
    """What is yet to be encoded must be there, and the backbone; a finished cache needs neither."""
    missing = [split for split in params.dataset.splits if not cache_path(split).exists()]
    if params.dataset.root != SCENES:
        yield from _layout_problems(params.dataset, missing)
    if missing:
        yield from _refused(_check_backbone, params)
    dataset = params.hallucination and params.hallucination.dataset
    if dataset and dataset.root != COMPANIONS:
        yield from _layout_problems(dataset, NEEDED_SPLITS)


def _layout_problems(dataset: DatasetOptions, splits: Iterable[str]) -> Iterator[str]:
    for split in splits:
        if split in dataset.splits:
            yield from _refused(find_split, dataset, split)


def _check_backbone(params: Params) -> None:
    from pipeline.backbone.loading import check_backbone  # noqa: PLC0415 - loads open_clip

    check_backbone(params.backbone)


def _refused(attempt: Callable[..., object], *arguments: object, key: str = "") -> Iterator[str]:
    try:
        attempt(*arguments)
    except (ConcordError, CacheError) as error:
        yield f"{key}{error}"
    except OSError as error:  # a name that no file can have
        yield f"{key}{shown_value(str(error.filename))}: {os_error_reason(error)}"
