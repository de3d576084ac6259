"""Where the trainings of the study were measured, as the page says it: by which code, and on which machines."""

from collections import Counter
from collections.abc import Iterable

from pipeline.results.markup import table_text
from pipeline.study.measurement import Measurement

_COMMIT_SHOWN = 10


def provenance_text(measured: Iterable[Measurement]) -> str:
    """Set the section of the page: how many trainings were measured at which commit and on which processor.

    What only rounds differently, the activations of another processor, is counted, too: figures differ a little by it.
    """
    every = list(measured)
    counted = Counter(map(_origin, every))
    rows = [(*origin, str(count)) for origin, count in sorted(counted.items())]
    encodings = len({str(one.activations["train"].get("content_blake3")) for one in every})
    several = (
        f" The activations were encoded {encodings} times, and differ in how a processor rounds them."
        if encodings > 1
        else ""
    )
    return (
        "## Where this was measured\n\nEvery training is a file of `study/measured`: its options, figures and seconds, "
        f"the software and the machine.{several}\nThose of a variant whose files are deleted are made again by "
        "`concord repeat VARIANT`, after `dvc repro encode`.\n\n"
        f"{table_text(('commit', 'torch', 'processor', 'threads', 'trainings'), rows)}\n"
    )


def _origin(one: Measurement) -> tuple[str, ...]:
    commit = (one.software["commit"] or "unknown")[:_COMMIT_SHOWN]
    edited = " (edited)" if one.software["edited"] else ""
    machine = one.machine
    torch = one.software["versions"]["torch"]
    return f"{commit}{edited}", torch, machine["processor"], str(machine["threads"])
