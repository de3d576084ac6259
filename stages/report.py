"""Write the report of the trained variants."""

from collections.abc import Sequence

from cache import ActivationCache
from pipeline.params import Params
from pipeline.report.build import build_report
from pipeline.runs.config import CONFIG_FILE, refuse_other_backbone
from pipeline.runs.metrics import METRICS_FILE, refuse_other_cache
from stages.paths import MEASURED_SPLIT, REPORT, RUNS, cache_path, run_folder
from stages.progress import progress_bar
from stages.terminal import Terminal


def write_report(params: Params, variants: Sequence[str]) -> None:
    """Write `report/` about `variants`, in the order given; a split without a cache is left out, which a page says.

    Raises:
        ConfigError: a variant does not exist, and there is no run of that name, such as `concord match` writes.
        CacheError: a cache is damaged.
        RunError: a run was trained on activations of another backbone than a cache has, or measured on another cache
            than that of the validation split.
    """
    for name in variants:
        if not run_folder(name).is_dir():
            params.variant(name)
    caches = {
        split: ActivationCache.open(cache_path(split))
        for split in params.dataset.splits
        if cache_path(split).exists()
    }
    for run in (RUNS / name for name in variants):
        if (run / CONFIG_FILE).exists():
            for cache in caches.values():
                refuse_other_backbone(run, cache.manifest.backbone, f"that of {cache}")
        if (run / METRICS_FILE).exists() and MEASURED_SPLIT in caches:
            measured = caches[MEASURED_SPLIT]
            refuse_other_cache(run, measured.manifest.sha256, str(measured))
    with progress_bar("report", "pages") as advance:
        page = build_report(
            REPORT, [RUNS / name for name in variants], caches, params.dataset.root, params.report, advance
        )
    Terminal().print(str(page.resolve()))
