"""POPE: how often a vision-language decoder names what is not there, with and without VL-SAE's decoding."""

import json
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from cache import PairLoader
from pipeline.datasets.pictures import read_upright
from pipeline.errors import DatasetError
from pipeline.language_models.concept_edit import ConceptEdit
from pipeline.language_models.decoder import VisionLanguageDecoder, pooled_states
from pipeline.language_models.examples import read_examples
from pipeline.language_models.hallucination import FirstLogits, first_logits, pope_scores
from pipeline.language_models.loading import load_decoder
from pipeline.language_models.options import HallucinationOptions
from pipeline.language_models.polling import NEGATIVES, build_questions, read_objects
from pipeline.language_models.questions import Question, read_questions, write_questions
from pipeline.language_models.state_cache import write_state_cache
from pipeline.sae.auxiliary_autoencoder import save_auxiliary_autoencoder, train_auxiliary_autoencoder
from pipeline.sae.registry import build_sae, save_sae
from pipeline.training import Trainee, train
from stages.progress import progress_bar

Scores = dict[str, dict[str, float]]
"""Per strategy each of POPE's scores."""


def measure_hallucination(
    options: HallucinationOptions, root: Path, run: Path, question_files: Sequence[Path] = ()
) -> None:
    """Learn the edit from the training split, ask about the validation split, write `metrics.json` into `run`.

    The folder also gets the auxiliary autoencoder, the SAE, its cache of states, and the questions.

    Args:
        options: see `HallucinationOptions`.
        root: a data set in COCO layout with the splits `train` and `val`.
        run: folder of the results, replaced.
        question_files: POPE files about pictures of the validation split; none, questions are built.

    Raises:
        DatasetError: annotations are missing, or a question is about an absent image.
        BackboneError: the model cannot be loaded, or has no such layer.
    """
    polls = _read_polls(question_files, root) if question_files else _build_polls(options, root, run)
    decoder = load_decoder(options.states)
    edit = _learn_edit(decoder, options, root, run)
    asked = {(one.image, one.text): one for poll in polls.values() for one in poll}
    with progress_bar("ask questions", "questions") as advance:
        logits = first_logits(
            decoder,
            list(asked.values()),
            lambda name: read_upright(root / "val" / name),
            options.states.layer,
            edit,
            options.states.batch_size,
            advance,
        )
    place = {key: number for number, key in enumerate(asked)}
    metrics: dict[str, Scores] = {}
    for seed, (name, poll) in enumerate(polls.items()):
        rows = [place[one.image, one.text] for one in poll]
        of_poll = FirstLogits(logits.clean[rows], logits.edited[rows])
        scores = pope_scores(decoder, poll, of_poll, options.decoding, seed)
        metrics[name] = {strategy: one._asdict() for strategy, one in scores.items()}
    path = run / "metrics.json"
    path.unlink(missing_ok=True)  # DVC may keep the old file under another name
    path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def _read_polls(files: Sequence[Path], root: Path) -> Mapping[str, list[Question]]:
    pictures = {path.name for path in (root / "val").glob("*")}
    if not pictures:
        raise DatasetError(f"{root / 'val'}: no pictures there to ask about")
    return {path.stem: read_questions(path, pictures) for path in files}


def _build_polls(options: HallucinationOptions, root: Path, run: Path) -> Mapping[str, list[Question]]:
    """Questions of every kind and seed, by "KIND/SEED"; popularity is that of the training split."""
    shown, trained = (
        read_objects(root / "annotations" / f"instances_{split}.json") for split in ("val", "train")
    )
    polls = {}
    for kind in NEGATIVES:
        for number in range(options.seeds):
            seed = options.polling.seed + number
            polling = options.polling.model_copy(update={"seed": seed})
            questions = build_questions(shown, kind, polling, trained)
            write_questions(run / "questions" / f"{kind}_{seed}.jsonl", questions)
            polls[f"{kind}/{seed}"] = questions
    return polls


def _learn_edit(
    decoder: VisionLanguageDecoder, options: HallucinationOptions, root: Path, run: Path
) -> ConceptEdit:
    examples = read_examples(root, "train")[: options.pairs]
    captions = [example.captions[0] for example in examples]
    with progress_bar("read states", "pairs") as advance:
        states = pooled_states(
            decoder,
            [partial(read_upright, example.file) for example in examples],
            captions,
            options.states.layer,
            options.states.batch_size,
            advance,
        )
    with progress_bar("train the auxiliary autoencoder", "epochs") as advance:
        autoencoder = train_auxiliary_autoencoder(states.vision, states.text, options.autoencoder, advance)
    save_auxiliary_autoencoder(autoencoder, run / "auxiliary.safetensors")
    shutil.rmtree(run / "states.zarr", ignore_errors=True)
    cache = write_state_cache(
        run / "states.zarr",
        [example.file.name for example in examples],
        captions,
        states,
        autoencoder,
        options.states.model_dump(mode="json") | options.autoencoder.model_dump(mode="json"),
        {"root": root.as_posix(), "split": "train"},
    )
    sae = build_sae(options.sae, decoder.channels, decoder.channels, options.train.seed)
    loader = PairLoader(cache, options.train.batch_pairs, options.train.seed)
    trainee = Trainee(sae, options.train, run / "checkpoint.safetensors", "", lambda record: None)
    with progress_bar("train vl_sae", "steps") as advance:
        train([trainee], loader, advance)
    (run / "checkpoint.safetensors").unlink()
    save_sae(sae, run)
    device = decoder.model.device
    return ConceptEdit(autoencoder.to(device), sae.to(device).eval(), options.edit)
