"""Zero-shot classification with and without a trained variant's concepts."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from pipeline.backbone.loading import load_backbone
from pipeline.classification.comparison import compare
from pipeline.classification.concept_encoder import ConceptEncoder
from pipeline.classification.image_folder import (
    DEFAULT_TEMPLATES,
    ImageFolder,
    fill_templates,
    open_image_folder,
    refuse_other_classes,
)
from pipeline.classification.options import ClassificationOptions
from pipeline.classification.pictures import LabelledPicture
from pipeline.classification.scoring import ScoredPictures, score_pictures
from pipeline.classification.splits import Split, stratified_split
from pipeline.classification.world import (
    WORLD_TASKS,
    Vocabulary,
    class_names,
    class_prompts,
    draw_pictures,
)
from pipeline.datasets.scenes.lexicon import ZERO_SHOT_TEMPLATES
from pipeline.datasets.scenes.sampling import Combinations
from pipeline.errors import ConfigError
from pipeline.params import Params
from pipeline.sae.registry import build_sae, load_sae
from stages.progress import progress_bar

Part = tuple[Vocabulary, Combinations, Literal["tuning", "test"]]
"""Pictures that are drawn once per seed, whichever tasks they serve."""

RULES = {
    "alpha_0": "backbone alone",
    "alpha_fixed": "fixed alpha",
    "alpha_tuned": "tuned alpha",
    "concepts_only": "concepts alone",
}


def classify_pictures(
    params: Params,
    run: Path,
    options: ClassificationOptions,
    images: Path | None = None,
    tuning_images: Path | None = None,
    templates: Sequence[str] | None = None,
    *,
    untrained: bool = False,
) -> None:
    """Measure, print a table per task, and write `classification.json` into the folder `run`.

    The control, `untrained`, writes `classification-untrained.json`.

    Args:
        params: The backbone, and how codes of patches and tokens are pooled.
        run: A trained run.
        options: How much is measured.
        images: A folder of pictures per class to score; without one, the embedded world's tasks.
        tuning_images: A folder of the same classes to tune alpha on; without one, `images` is split.
        templates: Prompts with {} for the class, for `images`.
        untrained: Measure a dictionary of the same options whose weights are as they were drawn.

    Raises:
        ConfigError, DatasetError: the folders, the templates or their combination cannot be used.
        RunError: the run is not trained, or was trained on another backbone's activations.
    """
    if images is None and (tuning_images or templates):
        raise ConfigError("--tuning-images, --template: belong to pictures of yours; give --images, too")
    if images and tuning_images and images.resolve() == tuning_images.resolve():
        raise ConfigError(
            f"--tuning-images: alpha must not be tuned on the pictures that are scored, and both are {images}; leave "
            "--tuning-images out to split that folder"
        )
    folders = [open_image_folder(path) for path in (images, tuning_images) if path]
    sae = load_sae(run)
    if untrained:
        sae = build_sae(sae.options, sae.vision_channels, sae.text_channels).eval()
    pooling = params.evaluate.concept_pooling
    encoder = ConceptEncoder(sae, load_backbone(params.backbone), pooling, options.batch_size)
    if folders:
        tasks = {str(images): _measure_folders(encoder, options, folders, templates or DEFAULT_TEMPLATES)}
    else:
        tasks = _measure_world(encoder, options)
    result = {
        "options": options.model_dump(mode="json") | {"concept_pooling": pooling},
        "backbone": encoder.backbone.identity,
        "tasks": tasks,
    }
    for name, task in tasks.items():
        Console().print(_table(f"{run.name}{', untrained' * untrained} · {name}", task))
    path = run / ("classification-untrained.json" if untrained else "classification.json")
    path.unlink(missing_ok=True)  # DVC may keep the old file under another name
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _measure_world(encoder: ConceptEncoder, options: ClassificationOptions) -> dict[str, Any]:
    """Every seed draws pictures of its own, so that seeds are independent; tasks of one vocabulary tune on the same."""
    names = {task.vocabulary: class_names(task.vocabulary) for task in WORLD_TASKS.values()}
    classes = {vocabulary: encoder.classes(class_prompts(of)) for vocabulary, of in names.items()}
    parts: list[Part] = [(vocabulary, "seen", "tuning") for vocabulary in names]
    parts += [(task.vocabulary, task.test, "test") for task in WORLD_TASKS.values()]
    splits: dict[str, list[Split]] = {name: [] for name in WORLD_TASKS}
    with progress_bar("draw and encode", "pictures") as advance:
        total = options.seeds * len(parts) * options.pictures
        for seed in range(options.seeds):
            scored: dict[Part, ScoredPictures] = {}
            for number, part in enumerate(parts):
                vocabulary, combinations, role = part
                drawn = draw_pictures(vocabulary, combinations, options.pictures, f"{role}/{seed}")
                scored[part] = score_pictures(encoder, classes[vocabulary], drawn, options.batch_size)
                advance((seed * len(parts) + number + 1) * options.pictures, total)
            for name, task in WORLD_TASKS.items():
                tuning = scored[task.vocabulary, "seen", "tuning"]
                splits[name].append(Split(tuning, scored[task.vocabulary, task.test, "test"]))
    return {
        name: {"classes": len(names[task.vocabulary]), "templates": list(ZERO_SHOT_TEMPLATES)}
        | compare(splits[name], options)
        for name, task in WORLD_TASKS.items()
    }


def _measure_folders(
    encoder: ConceptEncoder,
    options: ClassificationOptions,
    folders: Sequence[ImageFolder],
    templates: Sequence[str],
) -> dict[str, Any]:
    """The first folder is scored; a second one is tuned on, otherwise every seed splits the first."""
    if len(folders) == 2:
        refuse_other_classes(folders[1], folders[0])
    names = folders[0].classes
    classes = encoder.classes(fill_templates(names, templates))
    scored = [score_pictures(encoder, classes, _read(folder), options.batch_size) for folder in folders]
    if len(folders) == 2:
        splits, overlap = [Split(tuning=scored[1], test=scored[0])], 0.0
    else:
        splits = [
            stratified_split(scored[0], names, options.tuning_share, seed) for seed in range(options.seeds)
        ]
        overlap = len(splits[0].test) / len(splits[0].tuning)
    skipped = {
        f"{folder.root}/{file}": reason for folder in folders for file, reason in folder.skipped.items()
    }
    described = {"classes": len(names), "templates": list(templates), "skipped": skipped}
    return described | compare(splits, options, overlap)


def _read(folder: ImageFolder) -> Iterator[LabelledPicture]:
    with progress_bar(f"read {folder.root}", "pictures") as advance:
        total = sum(map(len, folder.files.values()))
        for number, picture in enumerate(folder.read(), start=1):
            yield picture
            advance(number + len(folder.skipped), total)


def _table(title: str, task: dict[str, Any]) -> Table:
    over = (
        f"{task['splits']} splits"
        if task["interval_over"] == "splits"
        else f"{task['test_pictures']} pictures"
    )
    caption = (
        f"{task['classes']} classes, {task['test_pictures']} pictures scored and {task['tuning_pictures']} tuned on; "
        f"accuracy and its difference to the backbone alone: "
        f"mean and 95 % interval over {over}"
    )
    if task.get("skipped"):
        caption += f"; skipped: {len(task['skipped'])}"
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=None)
    table.add_column("score")
    for column in ("alpha", "accuracy %", "difference"):
        table.add_column(column, justify="right")
    for rule, label in RULES.items():
        row = task["rules"][rule]
        alphas = dict.fromkeys(f"{alpha:g}" for alpha in sorted(row.get("alpha", ())))
        difference = "" if rule == "alpha_0" else _percent(row["difference"], "+.2f")
        table.add_row(label, ", ".join(alphas), _percent(row["accuracy"], ".2f"), difference)
    return table


def _percent(interval: dict[str, float | None], form: str) -> str:
    mean, half_width = interval["mean"], interval["half_width"]
    shown = f"{100 * (mean or 0.0):{form}}"
    return shown if half_width is None else f"{shown} ± {100 * half_width:.2f}"
