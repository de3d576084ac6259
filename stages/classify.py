"""Zero-shot classification with and without the concepts of a variant's trained dictionaries."""

from collections.abc import Sequence
from pathlib import Path

from cache import ActivationCache
from pipeline.backbone.loading import load_backbone
from pipeline.classification.concept_encoder import ConceptEncoder
from pipeline.classification.control import before_training
from pipeline.classification.options import ClassificationOptions
from pipeline.classification.table import RULE_COLUMNS, rule_rows, task_caption
from pipeline.classification.task import Folders, compare_dictionaries, open_folders, score_folders
from pipeline.params import Params
from pipeline.runs.config import refuse_other_backbone
from pipeline.runs.seal import write_sealed
from pipeline.sae.saving import load_sae
from pipeline.world.classification import score_world
from stages.paths import TRAINING_SPLIT, cache_path
from stages.progress import progress_bar
from stages.terminal import Terminal, table


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
        untrained: Measure the control beside them, too: as many dictionaries as `before_training` draws.

    Raises:
        ConfigError, DatasetError: the folders or the templates cannot be used.
        RunError: a run is not trained, or was trained on another backbone's activations.
        CacheError: `untrained`, and the training cache is missing or another backbone's.
    """
    opened = open_folders(folders) if folders else []
    backbone = load_backbone(params.backbone)
    saes = {"trained": [load_sae(run) for run in runs]}
    for run in runs:
        refuse_other_backbone(run, backbone.identity, "that of the options (`backbone`)")
    if untrained:
        cache = ActivationCache.open(cache_path(TRAINING_SPLIT), backbone=backbone.identity)
        saes["untrained"] = before_training(saes["trained"][0], cache, len(runs))
    pooling = params.evaluate.concept_pooling
    encoder = ConceptEncoder(
        [sae for of_kind in saes.values() for sae in of_kind], backbone, pooling, options.batch_size
    )
    tasks = (
        {str(folders.images): score_folders(encoder, options, opened, folders.templates, progress_bar)}
        if folders
        else score_world(encoder, options, progress_bar)
    )
    kinds = {kind: len(of_kind) for kind, of_kind in saes.items()}
    measured = {name: compare_dictionaries(task, options, kinds) for name, task in tasks.items()}
    result = {
        "options": options.model_dump(mode="json") | {"concept_pooling": pooling},
        "backbone": backbone.identity,
        "runs": [str(run) for run in runs],
        "tasks": measured,
    }
    write_sealed(output, result)
    for name, task in measured.items():
        for kind in kinds:
            title, caption = f"{runs[0].name} · {name} · {kind}", task_caption(task, len(runs))
            Terminal().print(table(title, RULE_COLUMNS, rule_rows(task[kind]), caption), soft_wrap=False)
