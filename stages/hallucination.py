"""POPE: how often a vision-language decoder names what is not there, with and without VL-SAE's decoding."""

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.table import Table

from cache import ActivationCache, PairLoader
from pipeline.datasets.coco import DatasetOptions
from pipeline.datasets.pictures import read_upright
from pipeline.errors import ConfigError, DatasetError
from pipeline.json_text import write_json
from pipeline.language_models.concept_edit import ConceptEdit
from pipeline.language_models.decoder import VisionLanguageDecoder, pooled_states
from pipeline.language_models.examples import Example, read_examples
from pipeline.language_models.hallucination import FirstLogits, first_logits, pope_scores
from pipeline.language_models.loading import load_decoder
from pipeline.language_models.options import HallucinationOptions
from pipeline.language_models.polling import NEGATIVES, ObjectsByImage, build_questions, read_objects
from pipeline.language_models.pope import PopeScores
from pipeline.language_models.questions import Question, read_questions, write_questions
from pipeline.language_models.state_cache import write_state_cache
from pipeline.language_models.table import Scores, polls_by_kind, score_rows
from pipeline.run_files import replace_file
from pipeline.sae.auxiliary_autoencoder import save_auxiliary_autoencoder, train_auxiliary_autoencoder
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.inputs import input_statistics
from pipeline.sae.registry import build_sae, input_channels, save_sae
from pipeline.training import Trainee, resolve_device, train
from stages.progress import progress_bar
from stages.terminal import Terminal


def measure_hallucination(
    options: HallucinationOptions, dataset: DatasetOptions, run: Path, question_files: Sequence[Path] = ()
) -> None:
    """Learn the edit from the split `train`, ask about the split `val`, write `metrics.json` into `run`.

    The folder also gets the auxiliary autoencoder, the SAE, its cache of states, and the questions. A table is printed
    per kind of questions.

    Args:
        options: see `HallucinationOptions`.
        dataset: captioned pictures with their objects.
        run: folder of the results, replaced.
        question_files: POPE files about pictures of `val`; none, questions are built.

    Raises:
        ConfigError: the data set has no split of these names.
        DatasetError: annotations are missing, or a question is about an absent image.
        BackboneError: the model cannot be loaded, or has no such layer.
    """
    train_split, val_split = (_split(dataset, name) for name in ("train", "val"))
    pictures = dataset.root / val_split
    if question_files:
        polls = _read_polls(question_files, pictures)
    else:
        shown, trained = (
            read_objects(dataset.root / "annotations" / f"instances_{split}.json")
            for split in (val_split, train_split)
        )
        polls = _build_polls(options, shown, trained, run)
    decoder = load_decoder(options.states)
    examples = read_examples(dataset.root, train_split)[: options.pairs]
    edit = _learn_edit(decoder, options, examples, run)
    metrics = _ask(decoder, polls, pictures, edit, options)
    path = run / "metrics.json"
    replace_file(path, write_json(metrics, path))
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
    return {path.stem: read_questions(path, names) for path in files}


def _build_polls(
    options: HallucinationOptions, shown: ObjectsByImage, trained: ObjectsByImage, run: Path
) -> Mapping[str, list[Question]]:
    """Questions of every kind and seed, by "KIND/SEED"; popularity is that of the trained pictures."""
    polls = {}
    for kind in NEGATIVES:
        for number in range(options.seeds):
            seed = options.polling.seed + number
            polling = options.polling.model_copy(update={"seed": seed})
            questions = build_questions(shown, kind, polling, trained)
            write_questions(run / "questions" / f"{kind}_{seed}.jsonl", questions)
            polls[f"{kind}/{seed}"] = questions
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
) -> ConceptEdit:
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
    save_auxiliary_autoencoder(autoencoder, run / "auxiliary.safetensors")
    shutil.rmtree(run / "states.zarr", ignore_errors=True)
    cache = write_state_cache(
        run / "states.zarr",
        [example.file.name for example in examples],
        [example.captions[0] for example in examples],
        states,
        autoencoder,
        options.states.model_dump(mode="json") | options.autoencoder.model_dump(mode="json"),
        {"pictures": examples[0].file.parent.as_posix()},
    )
    sae = _train_sae(cache, options, run)
    return ConceptEdit(autoencoder.to(device), sae.to(device).eval(), options.edit)


def _train_sae(cache: ActivationCache, options: HallucinationOptions, run: Path) -> SparseAutoencoder:
    """VL-SAE on the pooled embeddings of `cache`, as every other variant is trained."""
    recipe = options.train
    device = resolve_device(recipe.device)
    channels = input_channels(options.sae, cache.manifest)
    sae = build_sae(options.sae, *channels, recipe.seed)
    sae.initialise(input_statistics(cache, sae.inputs))
    loader = PairLoader(cache, recipe.batch_pairs, recipe.seed, recipe.placement, device)
    checkpoint = run / "checkpoint.safetensors"
    checkpoint.unlink(missing_ok=True)  # of an interrupted run, maybe of another model's states
    trainee = Trainee(sae.to(device), recipe, checkpoint, "", lambda record: None)
    with progress_bar("train vl_sae", "steps") as advance:
        train([trainee], loader, advance)
    checkpoint.unlink()
    save_sae(sae, run)
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
