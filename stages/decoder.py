"""Train the embedded vision-language decoder anew: draw its world, train, measure."""

import json
from pathlib import Path

from pipeline.backbone.loading import load_backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.datasets.coco import CocoDataset
from pipeline.datasets.pictures import read_upright
from pipeline.language_models.examples import captioned_examples
from pipeline.language_models.loading import load_decoder
from pipeline.language_models.options import PollingOptions, StateOptions
from pipeline.language_models.polling import objects_by_image
from pipeline.runs.files import replace_file
from pipeline.runs.json_text import write_json
from pipeline.world.instruction_tuning.alignment import align_with_siglip
from pipeline.world.instruction_tuning.architecture import create_processor, create_tiny_llava
from pipeline.world.instruction_tuning.conversations import vocabulary
from pipeline.world.instruction_tuning.evaluation import evaluate
from pipeline.world.instruction_tuning.features import image_features
from pipeline.world.instruction_tuning.loop import tune
from pipeline.world.instruction_tuning.options import InstructionTuningOptions
from pipeline.world.pretraining.architecture import create_model
from stages.companions import draw_companions
from stages.paths import COMPANIONS
from stages.progress import progress_bar
from stages.terminal import Terminal

TUNING = Path("data/instruction_tuning")
BACKBONE = Path("models/tiny-siglip")
EVALUATION_FILE, LOG_FILE = "evaluation.json", "log.jsonl"


def train_decoder(
    folder: Path,
    options: InstructionTuningOptions | None = None,
    root: Path = COMPANIONS,
    scratch: Path = TUNING,
    backbone: Path = BACKBONE,
) -> None:
    """Train the tiny LLaVA on the pictures in `root` into `folder`, a Hugging Face folder, and measure it.

    Pictures are drawn if there are none. Checkpoints and a log go to `scratch`, from where an interrupted training
    resumes. The last file written is `evaluation.json`.
    """
    options = options or InstructionTuningOptions()
    if not (root / "annotations" / "captions_train.json").is_file():
        draw_companions(options, root)
    examples = captioned_examples(CocoDataset.open(root, "train", captions_per_image="all"))
    processor = create_processor(vocabulary())
    model = create_tiny_llava(create_model(backbone), len(processor.tokenizer), options)
    with progress_bar("look at the pictures", "images") as advance:
        features = image_features(model, processor, [example.file for example in examples], advance)
    siglip = load_backbone(BackboneOptions(model=f"local-dir:{backbone}"))
    align_with_siglip(model, processor, siglip, features, options.seed)
    with progress_bar("train the decoder", "steps") as advance:
        history = tune(
            model,
            processor,
            examples,
            features,
            options,
            scratch / "checkpoint.safetensors",
            lambda record: advance(int(record["step"]), options.steps),
        )
    replace_file(scratch / LOG_FILE, "".join(json.dumps(record) + "\n" for record in history).encode())
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    processor.save_pretrained(folder)
    figures = _measure(folder, root, options.polling)
    write_json(folder / EVALUATION_FILE, figures)
    Terminal().print_json(data=figures)


def _measure(folder: Path, root: Path, polling: PollingOptions) -> dict[str, dict[str, float]]:
    decoder = load_decoder(StateOptions(model=str(folder), layer=0))
    shown, trained = (objects_by_image(CocoDataset.open(root, split)) for split in ("val", "train"))
    return evaluate(decoder, shown, trained, lambda name: read_upright(root / "val" / name), polling)
