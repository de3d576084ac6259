"""Draw the pictures of the embedded vision-language decoder."""

from pathlib import Path

from pipeline.world.instruction_tuning.companions import companion_scene
from pipeline.world.instruction_tuning.options import InstructionTuningOptions
from pipeline.world.scenes.write import write_split
from stages.paths import COMPANIONS
from stages.progress import progress_bar


def draw_companions(
    options: InstructionTuningOptions | None = None, root: Path = COMPANIONS, workers: int = 1
) -> None:
    """Write both splits into `root`, in COCO layout.

    `train` is of the skewed world, in which nouns have companions. `val` is of the ordinary world, the pictures of
    `data/scenes` of the same seed, where a companion is mostly missing.
    """
    options = options or InstructionTuningOptions()
    seed = options.seed
    with progress_bar("draw test scenes", "images") as advance:
        write_split(root, "val", options.test_pictures, seed=seed, workers=workers, on_progress=advance)
    with progress_bar("draw training scenes", "images") as advance:
        write_split(
            root,
            "train",
            options.pictures,
            seed=seed,
            workers=workers,
            scene=companion_scene,
            on_progress=advance,
        )
