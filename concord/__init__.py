"""Unified vision-language dictionaries from an activation cache: open, train, match, measure, name and explain.

Everything that a notebook needs is here and flat; `docs/python.md` goes through it from end to end. Importing this
module is cheap: torch is loaded by the first function that computes. Options are taken as a section of `params.yaml`
has them, as a mapping or typed (`docs/options.md`). Every function raises `ConcordError` or `CacheError` for what a
user can mend; `progress` receives (done, in all).

The packages behind it are called `cache`, `pipeline` and `stages`, names that somebody's folders have too. A folder
without `__init__.py` is never taken for one of them, wherever it lies, and this module needs no `stages`. Only a Python
package of your own called `cache` or `pipeline` cannot be used in one process with this one: whichever is imported
second is told so here, or is not found.
"""

from collections.abc import Callable, Mapping
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from concord.own_packages import import_own

# ruff: noqa: PLC0415 - imports are inside, so that importing this module loads nothing that computes

import_own("cache")
import_own("pipeline")

from cache import CacheError  # noqa: E402
from pipeline.config import Options  # noqa: E402
from pipeline.errors import ConcordError  # noqa: E402

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image

    from cache import ActivationCache, CachedPairs, PairBatch, PairLoader, data_loader
    from pipeline.backbone.model import Backbone
    from pipeline.backbone.options import BackboneOptions
    from pipeline.datasets.options import DatasetOptions
    from pipeline.encoding.options import EncodeOptions
    from pipeline.encoding.split import EncodeSummary
    from pipeline.interpretation.dense_codes import dense_codes, directions, heat_map
    from pipeline.interpretation.explanation import Explanation
    from pipeline.interpretation.options import InterpretOptions
    from pipeline.metrics.options import EvaluateOptions
    from pipeline.params import Params
    from pipeline.sae.base import SparseAutoencoder
    from pipeline.sae.options import ArchitectureOptions, MatchedBy
    from pipeline.training.options import TrainOptions

    __version__: str
    Given = Mapping[str, Any]

__all__ = [
    "ActivationCache",
    "Backbone",
    "CacheError",
    "CachedPairs",
    "ConcordError",
    "Explanation",
    "PairBatch",
    "PairLoader",
    "Params",
    "SparseAutoencoder",
    "__version__",
    "data_loader",
    "dense_codes",
    "directions",
    "encode",
    "evaluate",
    "explain",
    "fit",
    "heat_map",
    "interpret",
    "load_backbone",
    "load_params",
    "load_sae",
    "match",
    "open_cache",
    "save_sae",
]

Progress = Callable[[int, int], None]
_LUCID = {"architecture": "lucid"}
AnyOptions = TypeVar("AnyOptions", bound=Options)

_ELSEWHERE = {
    "ActivationCache": "cache",
    "Backbone": "pipeline.backbone.model",
    "CachedPairs": "cache",
    "Explanation": "pipeline.interpretation.explanation",
    "PairBatch": "cache",
    "PairLoader": "cache",
    "Params": "pipeline.params",
    "SparseAutoencoder": "pipeline.sae.base",
    "data_loader": "cache",
    "dense_codes": "pipeline.interpretation.dense_codes",
    "directions": "pipeline.interpretation.dense_codes",
    "heat_map": "pipeline.interpretation.dense_codes",
}


def __getattr__(name: str) -> Any:
    """Import what stands elsewhere when it is first asked for (PEP 562)."""
    if name == "__version__":
        return metadata.version("concord-sae")
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_ELSEWHERE[name]), name)
    return value


def __dir__() -> list[str]:
    """Name what is public, imported or not."""
    return __all__


def open_cache(location: str | Path) -> "ActivationCache":
    """Open a finished cache, a folder or a URL that fsspec knows; `len(cache)` is its number of pairs."""
    from cache import ActivationCache

    return ActivationCache.open(location)


def load_params(path: str | Path = "params.yaml") -> "Params":
    """Read and check a file of options; every section is an attribute."""
    from pipeline.params import load_params

    return load_params(Path(path))


def load_backbone(options: "BackboneOptions | Given | str") -> "Backbone":
    """Load the frozen model of a section `backbone`, or of the model's name alone: `local-dir:models/tiny-siglip`."""
    from pipeline.backbone.loading import load_backbone
    from pipeline.backbone.options import BackboneOptions

    given = {"model": options} if isinstance(options, str) else options
    return load_backbone(_options(BackboneOptions, given, "backbone"))


def encode(
    dataset: "DatasetOptions | Given",
    split: str,
    backbone: "Backbone",
    path: str | Path,
    options: "EncodeOptions | Given | None" = None,
    progress: Progress | None = None,
) -> "EncodeSummary":
    """Write the activation cache of one split of a data set at `path`, or finish one that was interrupted.

    Returns:
        How many pairs, images and captions there are, and what was skipped and why.
    """
    from pipeline.datasets.layouts import open_split
    from pipeline.datasets.options import DatasetOptions
    from pipeline.encoding.options import EncodeOptions
    from pipeline.encoding.split import encode_split

    opened = open_split(_options(DatasetOptions, dataset, "dataset"), split)
    return encode_split(opened, backbone, Path(path), _options(EncodeOptions, options, "encode"), progress)


def fit(
    cache: "ActivationCache",
    sae: "ArchitectureOptions | Given | None" = None,
    train: "TrainOptions | Given | None" = None,
    *,
    run: str | Path | None = None,
    progress: Progress | None = None,
) -> "SparseAutoencoder":
    """Train a dictionary on a cache, exactly as `concord train` does.

    Args:
        cache: what it is trained on.
        sae: how it is built; `{"architecture": "vl_sae"}` for another one than LUCID.
        train: how it is trained.
        run: folder that gets the dictionary, for the commands to measure, name and show it. An interrupted training
            goes on from there.
        progress: receives (steps done, steps in all).

    Returns:
        The dictionary, on the device of its training and in evaluation mode.
    """
    from pipeline.sae.registry import architecture_options
    from pipeline.training.fit import Training, fit, fit_run
    from pipeline.training.options import TrainOptions

    built = architecture_options(sae if isinstance(sae, Options) else _LUCID | dict(sae or {}))
    training = Training(built, _options(TrainOptions, train, "train"))
    advance = progress or _nothing
    if run is not None:
        return fit_run(cache, training, Path(run), advance).eval()
    return fit(cache, {"dictionary": training}, advance).saes["dictionary"].eval()


def load_sae(run: str | Path) -> "SparseAutoencoder":
    """Load the dictionary in a run's folder, on the CPU and in evaluation mode."""
    from pipeline.sae.saving import load_sae

    return load_sae(Path(run))


def save_sae(sae: "SparseAutoencoder", run: str | Path) -> None:
    """Write a dictionary into a folder, as `model.safetensors` and `config.json`.

    It does not say what the dictionary was trained on, which the commands want to know; `fit` with `run` does.
    """
    from pipeline.sae.saving import save_sae

    save_sae(sae, Path(run))


def match(
    run: str | Path,
    cache: "ActivationCache",
    output: str | Path,
    *,
    text_run: str | Path | None = None,
    by: "MatchedBy" = "pair",
    progress: Progress | None = None,
) -> "SparseAutoencoder":
    """Number the shared latents of a run's sides anew, so that those which fire together have one number.

    Args:
        run: folder of a trained dictionary whose sides have weights of their own.
        cache: what it was trained on; never what it is measured on.
        output: folder of the new run, which must not exist.
        text_run: folder of another run, whose text side stands in for that of `run`.
        by: what fires together: pictures and captions ("pair"), or patches and tokens by the plan ("plan").
        progress: receives (pairs read, pairs in all).

    Returns:
        The new dictionary, on the CPU and in evaluation mode; `confidence` [latent] tells how sure each match is.
    """
    from pipeline.matching.matched_run import match_runs

    text = Path(run if text_run is None else text_run)
    return match_runs({"vision": Path(run), "text": text}, cache, Path(output), progress or _nothing, by)


def evaluate(
    sae: "SparseAutoencoder",
    cache: "ActivationCache",
    backbone: "Backbone | None" = None,
    options: "EvaluateOptions | Given | None" = None,
    progress: Progress | None = None,
    training: "ActivationCache | None" = None,
) -> dict[str, Any]:
    """Measure a dictionary on pairs that it was not trained on: what `metrics.json` of a run holds.

    Without the backbone that encoded them, what asks for a text of its own is left out; without the cache that it was
    trained on (`training`), what takes the mean of its codes.
    """
    from pipeline.metrics.evaluation import evaluate
    from pipeline.metrics.options import EvaluateOptions

    return evaluate(sae, cache, backbone, _options(EvaluateOptions, options, "evaluate"), progress, training)


def interpret(
    sae: "SparseAutoencoder",
    cache: "ActivationCache",
    backbone: "Backbone",
    options: "InterpretOptions | Given | None" = None,
    progress: Progress | None = None,
) -> "pa.Table":
    """Name every shared latent by the concepts whose places in the pictures it dominates: a run's `latents.parquet`."""
    from pipeline.interpretation.naming import interpret
    from pipeline.interpretation.options import InterpretOptions

    return interpret(sae, cache, backbone, _options(InterpretOptions, options, "interpret"), progress)


def explain(
    sae: "SparseAutoencoder", backbone: "Backbone", picture: "Image | str | Path", text: str = ""
) -> "Explanation":
    """Say which shared latents fire where in a picture, a file or one in RGB, and which words of a text share them."""
    from pipeline.datasets.pictures import read_upright
    from pipeline.interpretation.explanation import explain

    opened = read_upright(Path(picture)) if isinstance(picture, str | Path) else picture
    return explain(sae, backbone, opened, text)


def _options(kind: type[AnyOptions], given: "Options | Given | None", where: str) -> AnyOptions:
    return given if isinstance(given, kind) else kind.parse(given or {}, where)


def _nothing(_done: int, _total: int) -> None:
    """Show no progress."""
