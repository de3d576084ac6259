"""Zero-shot classification with and without the concepts of a variant's trained dictionaries."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich.table import Table

from cache import ActivationCache
from pipeline.backbone.loading import load_backbone
from pipeline.backbone.model import Backbone
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
from pipeline.classification.table import RULES, percent
from pipeline.errors import ConfigError
from pipeline.params import Params
from pipeline.runs.config import refuse_other_backbone
from pipeline.runs.seal import write_sealed
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.inputs import input_statistics
from pipeline.sae.registry import build_sae, load_sae
from pipeline.world.classes import (
    WORLD_TASKS,
    Vocabulary,
    class_names,
    class_prompts,
    draw_pictures,
)
from pipeline.world.scenes.lexicon import ZERO_SHOT_TEMPLATES
from pipeline.world.scenes.sampling import Combinations
from stages.paths import cache_path
from stages.progress import progress_bar
from stages.terminal import Terminal

Part = tuple[Vocabulary, Combinations, Literal["tuning", "test"]]
"""Pictures that are drawn once per seed, whichever tasks they serve."""


class Folders(NamedTuple):
    """Pictures of the user's, by class.

    Attributes:
        images: the folder that is scored.
        tuning: one of the same classes to tune alpha on; without it, `images` is split.
        templates: prompts with {} for the class.
    """

    images: Path
    tuning: Path | None = None
    templates: Sequence[str] = DEFAULT_TEMPLATES


class Task(NamedTuple):
    """What was measured.

    Attributes:
        described: classes and templates, and what was skipped.
        splits: per dictionary its pictures, in the same splits.
        overlap: what `confidence_interval` is to know of the splits.
    """

    described: dict[str, Any]
    splits: Sequence[Sequence[Split]]
    overlap: float = 0.0


def classify_pictures(
    params: Params,
    options: ClassificationOptions,
    runs: Sequence[Path],
    output: Path,
    folders: Folders | None = None,
    *,
    untrained: bool = False,
) -> None:
    """Measure, print a table per task, and write the JSON file `output`.

    Args:
        params: The backbone, and how codes of patches and tokens are pooled.
        options: How much is measured.
        runs: Trained runs of one variant, at least one.
        output: File of the results, replaced.
        folders: Pictures to score; without them, the embedded world's tasks.
        untrained: Measure the control beside them: as many dictionaries of the same options as they are before the
            first step of training, drawn from the seeds 0, 1, ...

    Raises:
        ConfigError, DatasetError: the folders or the templates cannot be used.
        RunError: a run is not trained, or was trained on another backbone's activations.
        CacheError: `untrained`, and the training cache is missing or another backbone's.
    """
    opened = _open(folders) if folders else []
    backbone = load_backbone(params.backbone)
    saes = {"trained": [load_sae(run) for run in runs]}
    for run in runs:
        refuse_other_backbone(run, backbone.identity, "that of the options (`backbone`)")
    if untrained:
        saes["untrained"] = _before_training(saes["trained"][0], len(runs), backbone)
    pooling = params.evaluate.concept_pooling
    of_all = [sae for of_kind in saes.values() for sae in of_kind]
    encoder = ConceptEncoder(of_all, backbone, pooling, options.batch_size)
    tasks = (
        {str(folders.images): _measure_folders(encoder, options, opened, folders.templates)}
        if folders
        else _measure_world(encoder, options)
    )
    measured = {name: _compared(task, options, saes) for name, task in tasks.items()}
    result = {
        "options": options.model_dump(mode="json") | {"concept_pooling": pooling},
        "backbone": backbone.identity,
        "runs": [str(run) for run in runs],
        "tasks": measured,
    }
    write_sealed(output, result)
    for name, task in measured.items():
        for kind in saes:
            table = _table(f"{runs[0].name} · {name} · {kind}", task, task[kind], len(runs))
            Terminal().print(table, soft_wrap=False)


def _open(folders: Folders) -> list[ImageFolder]:
    if folders.tuning and folders.images.resolve() == folders.tuning.resolve():
        raise ConfigError(
            "--tuning-images: alpha must not be tuned on the pictures that are scored, and both are "
            f"{folders.images}; leave --tuning-images out to split that folder"
        )
    return [open_image_folder(path) for path in (folders.images, folders.tuning) if path]


def _before_training(sae: SparseAutoencoder, count: int, backbone: Backbone) -> list[SparseAutoencoder]:
    """Dictionaries like `sae` as training would begin with them, its scales and means included."""
    cache = ActivationCache.open(cache_path("train"), backbone=backbone.identity)
    statistics = input_statistics(cache, sae.inputs)
    drawn = []
    for seed in range(count):
        new = build_sae(sae.options, sae.vision_channels, sae.text_channels, seed)
        new.initialise(statistics)
        drawn.append(new.eval())
    return drawn


def _compared(
    task: Task, options: ClassificationOptions, saes: dict[str, list[SparseAutoencoder]]
) -> dict[str, Any]:
    first = task.splits[0]
    counts = {
        "splits": len(first),
        "tuning_pictures": len(first[0].tuning),
        "test_pictures": len(first[0].test),
    }
    compared, start = {}, 0
    for kind, of_kind in saes.items():
        compared[kind] = compare(task.splits[start : start + len(of_kind)], options, task.overlap)
        start += len(of_kind)
    return task.described | counts | compared


def _measure_world(encoder: ConceptEncoder, options: ClassificationOptions) -> dict[str, Task]:
    """Every seed draws pictures of its own, so that seeds are independent; tasks of one vocabulary tune on the same."""
    names = {task.vocabulary: class_names(task.vocabulary) for task in WORLD_TASKS.values()}
    classes = {vocabulary: encoder.classes(class_prompts(of)) for vocabulary, of in names.items()}
    parts: list[Part] = [(vocabulary, "seen", "tuning") for vocabulary in names]
    parts += [(task.vocabulary, task.test, "test") for task in WORLD_TASKS.values()]
    by_seed: list[dict[Part, list[ScoredPictures]]] = []
    with progress_bar("draw and encode", "pictures") as advance:
        for seed in range(options.seeds):
            by_seed.append({})
            for number, (vocabulary, combinations, role) in enumerate(parts, start=seed * len(parts)):
                drawn = draw_pictures(vocabulary, combinations, options.pictures, f"{role}/{seed}")
                scored = score_pictures(encoder, classes[vocabulary], drawn, options.batch_size)
                by_seed[-1][vocabulary, combinations, role] = scored
                advance((number + 1) * options.pictures, options.seeds * len(parts) * options.pictures)
    tasks = {}
    for name, task in WORLD_TASKS.items():
        tuning: Part = (task.vocabulary, "seen", "tuning")
        test: Part = (task.vocabulary, task.test, "test")
        of_seeds = [zip(scored[tuning], scored[test], strict=True) for scored in by_seed]
        splits = [[Split(*parts) for parts in of_dictionary] for of_dictionary in zip(*of_seeds, strict=True)]
        described = {"classes": len(names[task.vocabulary]), "templates": list(ZERO_SHOT_TEMPLATES)}
        tasks[name] = Task(described, splits)
    return tasks


def _measure_folders(
    encoder: ConceptEncoder,
    options: ClassificationOptions,
    folders: Sequence[ImageFolder],
    templates: Sequence[str],
) -> Task:
    """The first folder is scored; a second one is tuned on, otherwise every seed splits the first."""
    if len(folders) == 2:
        refuse_other_classes(folders[1], folders[0])
    names = folders[0].classes
    classes = encoder.classes(fill_templates(names, templates))
    scored = [score_pictures(encoder, classes, _read(folder), options.batch_size) for folder in folders]
    skipped = {
        f"{folder.root}/{file}": reason for folder in folders for file, reason in folder.skipped.items()
    }
    described = {"classes": len(names), "templates": list(templates), "skipped": skipped}
    if len(folders) == 2:
        return Task(described, [[Split(tuning, test)] for test, tuning in zip(*scored, strict=True)])
    splits = [
        [stratified_split(pictures, names, options.tuning_share, seed) for seed in range(options.seeds)]
        for pictures in scored[0]
    ]
    return Task(described, splits, overlap=len(splits[0][0].test) / len(splits[0][0].tuning))


def _read(folder: ImageFolder) -> Iterator[LabelledPicture]:
    with progress_bar(f"read {folder.root}", "pictures") as advance:
        total = len(folder.skipped) + sum(map(len, folder.files.values()))
        for number, picture in enumerate(folder.read(), start=1):
            yield picture
            advance(number + len(folder.skipped), total)


def _table(title: str, task: dict[str, Any], rules: dict[str, Any], runs: int) -> Table:
    over = f"{task['splits']} splits" if task["splits"] > 1 else f"{task['test_pictures']} pictures"
    if runs > 1:
        over += f" ± over {runs} dictionaries"
    caption = (
        f"{task['classes']} classes, {task['test_pictures']} pictures scored and {task['tuning_pictures']} tuned on; "
        f"accuracy and its difference to the backbone alone: "
        f"mean ± 95 % interval over {over}"
    )
    if task.get("skipped"):
        kinds = Counter(reason.split(":")[0].split(" as ")[0] for reason in task["skipped"].values())
        counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        caption += f"; skipped: {len(task['skipped'])} ({counted})"
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=None)
    table.add_column("score")
    for column in ("alpha", "accuracy %", "difference"):
        table.add_column(column, justify="right")
    for rule, label in RULES.items():
        row = rules[rule]
        alphas = sorted({alpha for of_run in row.get("alpha", ()) for alpha in of_run})
        difference = "" if rule == "alpha_0" else percent(row["difference"], "+z.2f")
        shown = ", ".join(f"{alpha:g}" for alpha in alphas)
        table.add_row(label, shown, percent(row["accuracy"], "z.2f"), difference)
    return table
