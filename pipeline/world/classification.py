"""The embedded world's tasks of zero-shot classification, on pictures that are drawn for them."""

from pipeline.classification.concept_encoder import ConceptEncoder
from pipeline.classification.options import ClassificationOptions
from pipeline.classification.scoring import ScoredPictures, score_pictures
from pipeline.classification.splits import Split
from pipeline.classification.task import Task
from pipeline.progress import ProgressBar
from pipeline.world.classes import (
    WORLD_TASKS,
    Vocabulary,
    class_names,
    class_prompts,
    draw_pictures,
)
from pipeline.world.scenes.lexicon import ZERO_SHOT_TEMPLATES
from pipeline.world.scenes.sampling import Combinations

Part = tuple[Vocabulary, Combinations, str]
"""Pictures that are drawn once per seed, whichever tasks they serve: "tuning" or "test" ones."""


def score_world(encoder: ConceptEncoder, options: ClassificationOptions, bar: ProgressBar) -> dict[str, Task]:
    """Draw and score the pictures of every task of `WORLD_TASKS`.

    Every seed draws pictures of its own, so that seeds are independent; tasks of one vocabulary tune on the same.
    """
    names = {task.vocabulary: class_names(task.vocabulary) for task in WORLD_TASKS.values()}
    classes = {vocabulary: encoder.classes(class_prompts(of)) for vocabulary, of in names.items()}
    parts: list[Part] = [(vocabulary, "seen", "tuning") for vocabulary in names]
    parts += [(task.vocabulary, task.test, "test") for task in WORLD_TASKS.values()]
    by_seed: list[dict[Part, list[ScoredPictures]]] = []
    with bar("draw and encode", "pictures") as advance:
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
