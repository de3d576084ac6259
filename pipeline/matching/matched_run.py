"""A run made of trained ones: the sides of one, or one side of each of two, with their latents matched."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache import ActivationCache
from pipeline.errors import ConfigError, RunError
from pipeline.matching.match import join_sides, match_sides
from pipeline.matching.readout import fit_image_level
from pipeline.progress import Advance
from pipeline.runs.config import training_identity, training_of
from pipeline.runs.files import create_folder, writing_run
from pipeline.runs.identity import differences, refuse_differences
from pipeline.runs.model_file import model_seal
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.options import SHARED_WEIGHTS, MatchedBy, MatchingOptions
from pipeline.sae.registry import build_sae
from pipeline.sae.saving import load_sae, save_sae
from pipeline.sae.sides import SIDES, Side

_BATCH_PAIRS = 64
_OF_BOTH_SIDES = ("confidence", "image_level.")
"""How the names of tensors begin that are found anew for the two sides together."""


def match_runs(
    runs: Mapping[Side, Path],
    cache: ActivationCache,
    output: Path,
    advance: Advance = lambda done, total: None,
    by: MatchedBy = "pair",
) -> SparseAutoencoder:
    """Match the vision side of one run with the text side of another, or of the same, and save the dictionary.

    Nothing is trained: the shared latents of both sides get new numbers (arXiv 2606.29888), private ones keep theirs.
    The new run says which runs it was made of and on which cache they were matched. Every refusal but that of a side
    without a living latent comes before any pair is read.

    Args:
        runs: folder of the run that each side is taken from; either may be made of others itself.
        cache: the pairs that the latents are matched by: the training cache of one of the runs.
        output: folder of the new run, which must not exist.
        advance: receives (pairs read, pairs in all).
        by: what fires together, see `match_sides`.

    Returns:
        The dictionary, on the CPU and in evaluation mode; `confidence` holds the correlation of each match.

    Raises:
        RunError: a run is missing, damaged, or does not say what it was trained on; the dictionaries differ in
            architecture, widths, latents or other options, or in their backbone; the cache is not one that they were
            trained on, or has too few pairs; a side has no living latent; `output` exists or cannot be written.
        ConfigError: the sides share an encoder or a decoder; or by a plan, sides of two runs are to be matched.
        CacheError: the cache cannot be read.
    """
    if os.path.lexists(output):
        raise RunError(f"{output}: exists; name another folder, or delete it")
    if by == "plan" and runs["vision"] != runs["text"]:
        raise ConfigError(
            f"by plan: {runs['vision']} and {runs['text']} have no latents in common that a plan could go by; match "
            "them by pair"
        )
    saes = {side: load_sae(runs[side]) for side in SIDES}
    trainings = {side: training_of(runs[side]) for side in SIDES}
    _refuse_unlike(runs, saes, trainings)
    _refuse_foreign_cache(runs, trainings, cache)
    joined = _joined(saes, cache.manifest.embedding).eval()
    join_sides(joined, match_sides(joined, cache, _BATCH_PAIRS, advance, by))
    fit_image_level(joined, cache, _BATCH_PAIRS)
    create_folder(output)
    with writing_run(output):
        save_sae(joined, output, _matched_training(runs, saes, trainings, cache, by))
    return joined


def _refuse_unlike(
    runs: Mapping[Side, Path],
    saes: Mapping[Side, SparseAutoencoder],
    trainings: Mapping[Side, Mapping[str, Any]],
) -> None:
    """Check that the runs' dictionaries can be one, whose sides can be matched."""
    vision, text = runs["vision"], runs["text"]
    for describe in (_kind, _options):
        refuse_differences(
            f"{text}: cannot be joined with {vision}",
            describe(saes["text"]),
            describe(saes["vision"]),
            "match dictionaries that were built with the same options",
        )
    if not saes["vision"].options.reindexable:
        raise ConfigError(f"{vision}: {SHARED_WEIGHTS}; match a dictionary with an encoder for each side")
    refuse_differences(
        f"{text}: was trained on activations of another backbone than {vision}",
        {"backbone": trainings["text"]["backbone"]},
        {"backbone": trainings["vision"]["backbone"]},
        "match dictionaries of one backbone",
    )


def _kind(sae: SparseAutoencoder) -> dict[str, Any]:
    """What two dictionaries differ in that have nothing to do with each other."""
    return {
        "architecture": sae.options.architecture,
        "latents": sae.options.latents,
        "vision_channels": sae.vision_channels,
        "text_channels": sae.text_channels,
    }


def _options(sae: SparseAutoencoder) -> dict[str, Any]:
    return {"sae": sae.options.model_dump(mode="json")}


def _refuse_foreign_cache(
    runs: Mapping[Side, Path], trainings: Mapping[Side, Mapping[str, Any]], cache: ActivationCache
) -> None:
    """Check that a run was trained on this cache: pairs that a match has seen cannot judge it."""
    keys = ("cache", "dataset", "backbone")
    found = {key: training_identity({}, cache)[key] for key in keys}
    expected = {side: {key: training[key] for key in keys} for side, training in trainings.items()}
    if all(differences(found, one) for one in expected.values()):
        refuse_differences(
            f"{cache}: is not the cache that {runs['vision']} was trained on",
            found,
            expected["vision"],
            "match on the pairs of training, never on those that a dictionary is judged by",
        )


def _joined(saes: Mapping[Side, SparseAutoencoder], embedding: int) -> SparseAutoencoder:
    """Build a dictionary of one side of each; every tensor of a side has the side's name in its own."""
    vision, text = saes["vision"], saes["text"]
    options = vision.options
    if options.matching is None:
        options = options.model_copy(update={"matching": MatchingOptions(separate_epochs=None)})
    positions = None if vision.centring is None else vision.centring.positions
    joined = build_sae(
        options, vision.vision_channels, text.text_channels, embedding=embedding, positions=positions
    )
    states = {side: sae.state_dict() for side, sae in saes.items()}
    new = joined.state_dict()
    taken = {name: states[_side_of(name)][name] for name in new if not name.startswith(_OF_BOTH_SIDES)}
    joined.load_state_dict(new | taken)
    return joined


def _side_of(name: str) -> Side:
    (side,) = (side for side in SIDES if side in re.split(r"[._]", name))
    return side


def _matched_training(
    runs: Mapping[Side, Path],
    saes: Mapping[Side, SparseAutoencoder],
    trainings: Mapping[Side, Mapping[str, Any]],
    cache: ActivationCache,
    by: MatchedBy,
) -> dict[str, Any]:
    """What decided the weights: the cache of the match, and for each side what decided them before it."""
    matched = {
        side: {
            "model_blake3": model_seal(runs[side]),
            **_options(saes[side]),
            **{key: value for key, value in trainings[side].items() if key != "backbone"},
        }
        for side in SIDES
    }
    described = training_identity({}, cache) | {"matched": matched}
    return described if by == "pair" else described | {"matched_by": by}
