"""POPE's scores over several draws of questions, from what `concord hallucination` wrote and nothing else."""

from collections.abc import Mapping, Sequence

from pipeline.language_models.pope import PopeScores
from pipeline.results.decimals import spread_text
from pipeline.results.markup import table_text

Scores = Mapping[str, Mapping[str, float]]
"""Per strategy each of POPE's scores."""

SCORE_COLUMNS = ("decoding", *(f"{score} %" for score in PopeScores._fields))
"""What `score_rows` gives of each strategy, behind its name."""


def polls_by_kind(metrics: Mapping[str, Scores]) -> dict[str, list[Scores]]:
    """The polls "KIND/SEED", or of a file "NAME", by what comes before the slash."""
    kinds: dict[str, list[Scores]] = {}
    for name, scores in metrics.items():
        kinds.setdefault(name.split("/")[0], []).append(scores)
    return kinds


def score_rows(polls: Sequence[Scores]) -> dict[str, list[str]]:
    """Per strategy every score of `PopeScores` in percent: the mean, and of several polls ± standard deviation."""
    return {
        strategy: [
            spread_text([100 * poll[strategy][score] for poll in polls], 1) for score in PopeScores._fields
        ]
        for strategy in polls[0]
    }


def poll_title(kind: str, polls: Sequence[Scores]) -> str:
    """What is above the scores of one kind of questions."""
    return f"{kind}: {len(polls)} {'draw' if len(polls) == 1 else 'draws'} of questions"


def hallucination_tables(metrics: Mapping[str, Scores]) -> str:
    """A table per kind of questions: a row per way of decoding, a column per score."""
    draws = max(map(len, polls_by_kind(metrics).values()))
    introduction = (
        "## Hallucination\n\n"
        "POPE's questions to a vision-language decoder under six ways of decoding, in percent "
        f"([hallucination.md](hallucination.md)):\nmean ± standard deviation over {draws} draws of questions.\n"
    )
    columns = ("decoding", *(score.replace("_", " ") for score in PopeScores._fields))
    tables = [introduction]
    for kind, polls in polls_by_kind(metrics).items():
        rows = [(f"`{name}`", *cells) for name, cells in score_rows(polls).items()]
        tables.append(f"### {kind.capitalize()} negatives\n\n{table_text(columns, rows)}\n")
    return "\n".join(tables)
