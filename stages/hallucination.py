"""POPE: how often a vision-language decoder names what is not there, with and without VL-SAE's decoding."""

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from cache import ActivationCache, PairLoader
from pipeline.datasets.options import DatasetOptions
from pipeline.datasets.pictures import read_upright
from pipeline.errors import ConfigError, DatasetError
from pipeline.language_models.concept_edit import ConceptEdit
from pipeline.language_models.decoder import VisionLanguageDecoder, pooled_states
from pipeline.language_models.examples import Example, read_examples, unusable_pictures
from pipeline.language_models.hallucination import FirstLogits, first_logits, pope_scores
from pipeline.language_models.loading import load_decoder
from pipeline.language_models.options import HallucinationOptions
from pipeline.language_models.polling import NEGATIVES, ObjectsByImage, build_questions, read_objects
from pipeline.language_models.pope import PopeScores
from pipeline.language_models.questions import Question, read_questions, write_questions
from pipeline.language_models.state_cache import write_state_cache
from pipeline.language_models.table import Scores, polls_by_kind, score_rows
from pipeline.runs.files import create_folder, writing_run
from pipeline.runs.seal import write_sealed
from pipeline.sae.auxiliary_autoencoder import (
    AuxiliaryAutoencoder,
    save_auxiliary_autoencoder,
    train_auxiliary_autoencoder,
)
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.inputs import input_statistics
from pipeline.sae.registry import build_sae, input_channels, save_sae
from pipeline.training.loop import Trainee, resolve_device, train
from stages.progress import note, progress_bar
from stages.terminal import Terminal

_STATES, _NEW_STATES = "states.zarr", "states.zarr.partial"


class Learned(NamedTuple):
    """What the edit is made of."""

    autoencoder: AuxiliaryAutoencoder
    sae: SparseAutoencoder


def measure_hallucination(
    options: HallucinationOptions, dataset: DatasetOptions, run: Path, question_files: Sequence[Path] = ()
) -> None:
    """Learn the edit from the split `train`, ask about the split `val`, write `metrics.json` into `run`.

    The folder also gets the auxiliary autoencoder, the SAE, its cache of states, and the questions. A table is printed
    per kind of questions.

    Args:
        options: see `HallucinationOptions`.
        dataset: captioned pictures with their objects.
        run: folder of the results. What is there is replaced once all are known.
        question_files: POPE files about pictures of `val`; none, questions are built.

    Raises:
        ConfigError: the data set has no split of these names, or two question files have one name.
        DatasetError: annotations are missing, a question is about an absent image, or no picture can be used.
        BackboneError: the model cannot be loaded, has no such layer, or gives logits that are not numbers.
        RunError: another process writes the run, or a file cannot be written.
    """
    create_folder(run)
    with writing_run(run):
        _measure(options, dataset, run, question_files)


def _measure(
    options: HallucinationOptions, dataset: DatasetOptions, run: Path, question_files: Sequence[Path]
) -> None:
    train_split, val_split = (_split(dataset, name) for name in ("train", "val"))
    pictures = dataset.root / val_split
    if question_files:
        polls = _read_polls(question_files, pictures)
    else:
        shown, trained = (
            read_objects(dataset.root / "annotations" / f"instances_{split}.json")
            for split in (val_split, train_split)
        )
        polls = _build_polls(options, shown, trained)
    decoder = load_decoder(options.states)
    examples = _usable_examples(read_examples(dataset.root, train_split)[: options.pairs])
    polls = _usable_polls(polls, pictures)
    learned = _learn_edit(decoder, options, examples, run)
    edit = ConceptEdit(learned.autoencoder, learned.sae, options.edit)
    metrics = _ask(decoder, polls, pictures, edit, options)
    _write(run, learned, {} if question_files else polls, metrics)
    for kind, of_kind in polls_by_kind(metrics).items():
        Terminal().print(_table(kind, of_kind), soft_wrap=False)


def _split(dataset: DatasetOptions, name: str) -> str:
    if name not in dataset.splits:
        raise ConfigError(
            f"dataset.splits: the edit is learned from 'train' and questions are about 'val'; there is no {name!r}"
        )
    return dataset.splits[name]


def _read_polls(files: Sequence[Path], pictures: Path) -> Mapping[str, list[Question]]:
    names = {path.name for path in pictures.glob("*")}
    if not names:
        raise DatasetError(f"{pictures}: no pictures there to ask about")
    polls: dict[str, list[Question]] = {}
    for path in files:
        if path.stem in polls:
            raise ConfigError(
                f"--questions: two files are called {path.stem!r}, and scores are told apart by it; rename one"
            )
        polls[path.stem] = read_questions(path, names)
    return polls


def _usable_examples(examples: Sequence[Example]) -> list[Example]:
    """Those whose pictures can be decoded; what is left out is said."""
    unusable = unusable_pictures(example.file for example in examples)
    _say_unusable(unusable, "training pictures", len(examples))
    return [example for example in examples if example.file not in unusable]


def _usable_polls(polls: Mapping[str, list[Question]], folder: Path) -> Mapping[str, list[Question]]:
    """The questions about pictures that can be decoded; what is left out is said."""
    asked = {folder / one.image for poll in polls.values() for one in poll}
    unusable = unusable_pictures(sorted(asked))
    _say_unusable(unusable, "pictures asked about", len(asked))
    return {name: [one for one in poll if folder / one.image not in unusable] for name, poll in polls.items()}


def _say_unusable(unusable: Mapping[Path, str], what: str, count: int) -> None:
    if not unusable:
        return
    file, reason = next(iter(unusable.items()))
    found = f"{len(unusable)} of {count} {what} cannot be used, such as {file} ({reason})"
    if len(unusable) == count:
        raise DatasetError(f"{found}; get the data set again")
    note(f"{found}; left out")


def _build_polls(
    options: HallucinationOptions, shown: ObjectsByImage, trained: ObjectsByImage
) -> Mapping[str, list[Question]]:
    """Questions of every kind and seed, by "KIND/SEED"; popularity is that of the trained pictures."""
    polls = {}
    for kind in NEGATIVES:
        for number in range(options.seeds):
            seed = options.polling.seed + number
            polling = options.polling.model_copy(update={"seed": seed})
            polls[f"{kind}/{seed}"] = build_questions(shown, kind, polling, trained)
    return polls


def _ask(
    decoder: VisionLanguageDecoder,
    polls: Mapping[str, list[Question]],
    pictures: Path,
    edit: ConceptEdit,
    options: HallucinationOptions,
) -> dict[str, Scores]:
    """The scores of every poll; a question that is in several is asked once."""
    asked = {(one.image, one.text): one for poll in polls.values() for one in poll}
    with progress_bar("ask questions", "questions") as advance:
        logits = first_logits(
            decoder,
            list(asked.values()),
            lambda name: read_upright(pictures / name),
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
    return metrics


def _learn_edit(
    decoder: VisionLanguageDecoder, options: HallucinationOptions, examples: Sequence[Example], run: Path
) -> Learned:
    with progress_bar("read states", "pairs") as advance:
        states = pooled_states(
            decoder,
            [partial(read_upright, example.file) for example in examples],
            [example.captions[0] for example in examples],
            options.states.layer,
            options.states.batch_size,
            advance,
        )
    device = decoder.model.device
    with progress_bar("train the auxiliary autoencoder", "epochs") as advance:
        autoencoder = train_auxiliary_autoencoder(
            states.vision.to(device), states.text.to(device), options.autoencoder, advance
        ).cpu()
    shutil.rmtree(run / _NEW_STATES, ignore_errors=True)  # of an interrupted run
    cache = write_state_cache(
        run / _NEW_STATES,
        [example.file.name for example in examples],
        [example.captions[0] for example in examples],
        states,
        autoencoder,
        options.states.model_dump(mode="json") | options.autoencoder.model_dump(mode="json"),
        {"pictures": examples[0].file.parent.as_posix()},
    )
    sae = _train_sae(cache, options, run)
    return Learned(autoencoder.to(device), sae.to(device).eval())


def _write(
    run: Path, learned: Learned, built: Mapping[str, list[Question]], metrics: Mapping[str, Scores]
) -> None:
    """Everything that the run is; the folder of states was written already and takes its name."""
    save_auxiliary_autoencoder(learned.autoencoder, run / "auxiliary.safetensors")
    save_sae(learned.sae, run)
    for name, questions in built.items():
        write_questions(run / "questions" / f"{name.replace('/', '_')}.jsonl", questions)
    shutil.rmtree(run / _STATES, ignore_errors=True)
    (run / _NEW_STATES).rename(run / _STATES)
    write_sealed(run / "metrics.json", metrics)


def _train_sae(cache: ActivationCache, options: HallucinationOptions, run: Path) -> SparseAutoencoder:
    """VL-SAE on the pooled embeddings of `cache`, as every other variant is trained."""
    recipe = options.train
    device = resolve_device(recipe.device, "hallucination.train.device")
    channels = input_channels(options.sae, cache.manifest)
    sae = build_sae(options.sae, *channels, recipe.seed)
    sae.initialise(input_statistics(cache, sae.inputs))
    loader = PairLoader(cache, recipe.batch_pairs, recipe.seed, recipe.placement, device)
    checkpoint = run / "checkpoint.safetensors"
    checkpoint.unlink(missing_ok=True)  # of an interrupted run, maybe of another model's states
    trainee = Trainee(sae.to(device), recipe, checkpoint, {}, lambda record: None)
    with progress_bar("train vl_sae", "steps") as advance:
        train([trainee], loader, advance)
    checkpoint.unlink()
    return sae


def _table(kind: str, polls: Sequence[Scores]) -> Table:
    caption = "mean ± standard deviation" if len(polls) > 1 else ""
    title = f"{kind}: {len(polls)} draw{'s' * (len(polls) != 1)} of questions"
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=None)
    table.add_column("decoding")
    for score in PopeScores._fields:
        table.add_column(f"{score} %", justify="right")
    for strategy, cells in score_rows(polls).items():
        table.add_row(strategy, *cells)
    return table
