"""POPE: how often a vision-language decoder names what is not there, with and without VL-SAE's decoding."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.datasets.layouts import open_split
from pipeline.datasets.options import DatasetOptions
from pipeline.language_models.concept_edit import ConceptEdit
from pipeline.language_models.examples import captioned_examples
from pipeline.language_models.hallucination import score_polls
from pipeline.language_models.learned_edit import learn_edit
from pipeline.language_models.loading import load_decoder
from pipeline.language_models.options import HallucinationOptions
from pipeline.language_models.polling import objects_by_image
from pipeline.language_models.polls import build_polls, read_polls, usable_examples, usable_polls
from pipeline.language_models.questions import write_questions
from pipeline.language_models.table import SCORE_COLUMNS, poll_title, polls_by_kind, score_rows
from pipeline.runs.files import create_folder, writing_run
from pipeline.runs.metrics import METRICS_FILE
from pipeline.runs.seal import write_sealed
from stages.progress import note, progress_bar
from stages.terminal import Terminal, table


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
    pictures = dataset.root / dataset.split_of_files("val")
    training = open_split(dataset.model_copy(update={"captions_per_image": "all"}), "train")
    if question_files:
        polls = read_polls(question_files, pictures)
    else:
        polls = build_polls(options, objects_by_image(open_split(dataset, "val")), objects_by_image(training))
    decoder = load_decoder(options.states)
    examples = usable_examples(captioned_examples(training)[: options.pairs], note)
    polls = usable_polls(polls, pictures, note)
    learned = learn_edit(decoder, options, examples, run, progress_bar)
    edit = ConceptEdit(*learned, options.edit)
    metrics = score_polls(decoder, polls, pictures, edit, options, progress_bar)
    learned.save(run)
    for name, questions in () if question_files else polls.items():
        write_questions(run / "questions" / f"{name.replace('/', '_')}.jsonl", questions)
    write_sealed(run / METRICS_FILE, metrics)
    for kind, of_kind in polls_by_kind(metrics).items():
        rows = [(strategy, *cells) for strategy, cells in score_rows(of_kind).items()]
        caption = "mean ± standard deviation" if len(of_kind) > 1 else ""
        Terminal().print(table(poll_title(kind, of_kind), SCORE_COLUMNS, rows, caption), soft_wrap=False)
