"""Train the embedded backbone anew: render its scenes, train, measure."""

from pathlib import Path

from pipeline.backbone.loading import load_backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.runs.json_text import write_json
from pipeline.world.pretraining.architecture import CONTEXT_LENGTH, WEIGHTS_FILE, write_config
from pipeline.world.pretraining.evaluation import evaluate
from pipeline.world.pretraining.loop import train
from pipeline.world.pretraining.options import PretrainingOptions
from pipeline.world.pretraining.phrases import vocabulary
from pipeline.world.pretraining.pool import load_pool, render_pool
from pipeline.world.pretraining.tokenizer import write_tokenizer
from stages.progress import progress_bar
from stages.terminal import Terminal

PRETRAINING = Path("data/pretraining")
EVALUATION_FILE = "evaluation.json"
EVALUATION_SEED = 2024


def train_backbone(
    folder: Path,
    options: PretrainingOptions | None = None,
    scratch: Path = PRETRAINING,
    processes: int = 2,
) -> None:
    """Train the tiny SigLIP into `folder`, in open_clip's `local-dir:` layout, and measure it.

    Rendered scenes and checkpoints go to `scratch`, from where an interrupted training resumes; weights that are
    already in `folder` are replaced. The last file written is `evaluation.json`.
    """
    options = options or PretrainingOptions()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).unlink(missing_ok=True)
    write_config(folder, write_tokenizer(folder, vocabulary(), CONTEXT_LENGTH))
    with progress_bar("render training scenes", "chunks") as advance:
        render_pool(scratch / "scenes", options.seed, options.scenes, processes, advance)
    pool = load_pool(scratch / "scenes", options.seed, options.scenes)
    with progress_bar("train the backbone", "steps") as advance:
        train(
            folder,
            pool,
            options,
            scratch / "checkpoints",
            lambda record: advance(int(record["step"]), options.steps),
        )
    figures = evaluate(load_backbone(BackboneOptions(model=f"local-dir:{folder}")), EVALUATION_SEED)
    write_json(folder / EVALUATION_FILE, figures)
    Terminal().print_json(data=figures)
