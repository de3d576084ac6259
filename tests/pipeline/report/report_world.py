"""The picture world with trained and interpreted runs: real caches, real dictionaries, real pictures."""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.append(str(Path(__file__).parents[1] / "interpretation"))

import picture_world

from pipeline.interpretation.identity import dictionary_sha256
from pipeline.interpretation.latent_table import METADATA_KEY, write_latents
from pipeline.interpretation.naming import interpret
from pipeline.interpretation.options import InterpretOptions
from pipeline.report.build import build_report
from pipeline.report.options import ReportOptions
from pipeline.runs.config import training_identity
from pipeline.runs.metrics import write_metrics
from pipeline.runs.stability import STABILITY_FILE, write_stability
from pipeline.sae.saving import save_sae
from pipeline.sae.vl_sae.model import VLSAE
from pipeline.sae.vl_sae.options import VLSAEOptions

TRAP = "<script>alert('trap')</script> & \"quotes\" <b>red</b> boat"
METRICS = {
    "lucid": {
        "reconstruction": {
            "vision": {"full_joint": 0.8674266656080118, "shared": 0.5},
            "text_to_vision": {"shared": 0.41, "full": 0.3, "leak": -0.11},
        },
        "grounding": {"transport": {"point_at_1": 0.6}, "swapped": {"point_at_1": 0.7}},
        "degeneracy": {"text_to_image": 0.25, "dead_shared": {"vision": 3, "text": 12345}},
        "counts": {"pairs": 17, "nothing": None, "word": "ignored", "flag": True},
        "not_defined": {"alignment": "too few <b>latents</b>"},
    },
    "pooled": {
        "reconstruction": {"vision": {"full_global": 0.5}},
        "interpretation": {
            "named": 3,
            "correct": 1,
            "share": 1 / 3,
            "same_on_both_sides": 2,
            "kinds": {"colour": {"named": 2, "correct": 1}, "size": {"named": 1, "correct": 0}},
        },
    },
    "shared_only": {
        "reconstruction": {"vision": {"full_global": 0.9, "shared": 0.9}, "text_to_vision": {"shared": 0.4}},
        "degeneracy": {"text_to_image": 0.5},
    },
}


class TrapModel(picture_world.WordModel):
    """A backbone with a tokenizer one of whose tokens would be a tag."""

    def decode(self, token_ids):
        return super().decode(token_ids).replace("meadow", "<u>meadow</u>")


class World:
    """Run folders, caches and pictures below one folder."""

    def __init__(self, folder: Path) -> None:
        shown = list(picture_world.pictures())
        shown[1] = picture_world.Picture("cat", "red", "sea", 5, (TRAP,))
        self.data = folder / "data"
        self.caches = {}
        for split, some in {"val": tuple(shown), "ood": tuple(shown[5:11])}.items():
            picture_world.write_pictures(self.data, split, some)
            name = "pictures <i>of</i> shapes"
            self.caches[split] = picture_world.write_cache(folder / f"{split}.zarr", split, some, name)
        self.runs = folder / "runs"
        for variant in METRICS:
            (self.runs / variant).mkdir(parents=True)
        self._write_curve("lucid", "total", "step\ttotal\n10\t2.5\n20\t0.5\n30\t0.05\n")
        self.sae = picture_world.axis_sae()
        self.list = folder / "list.txt"
        self.list.write_text(picture_world.LIST.replace("red =", "<em>red</em> ="), encoding="utf-8")
        for variant in ("lucid", "shared_only"):
            save_sae(self.sae, self.runs / variant, self._training)
        self.interpret()
        self._interpret_pooled()
        for variant, metrics in METRICS.items():
            write_metrics(self.runs / variant, metrics, self.caches["val"])
        self._measure_stability()

    def have_image_level_latents(self) -> None:
        """Let lucid be a dictionary of which settings are image-level latents."""
        self.sae = picture_world.sae_with_settings()
        save_sae(self.sae, self.runs / "lucid", self._training)
        self.interpret()
        write_metrics(self.runs / "lucid", METRICS["lucid"], self.caches["val"])

    def interpret(self, **values) -> None:
        options = InterpretOptions(**({"concepts": str(self.list), "minimum_hits": 3} | values))
        model = TrapModel()
        latents = interpret(self.sae, self.caches["val"], model, options)
        write_latents(self.runs / "lucid" / "latents.parquet", latents)

    def build(
        self, output: Path, variants=("lucid", "shared_only", "separate", "pooled"), caches=None, **options
    ) -> Path:
        caches = self.caches if caches is None else caches
        runs = [self.runs / variant for variant in variants]
        return build_report(output, runs, caches, self.data, ReportOptions(**options)).parent

    def _interpret_pooled(self) -> None:
        """What lucid's latents would be to a dictionary that knows no places."""
        channels = picture_world.CHANNELS
        sae = VLSAE(VLSAEOptions(latents=8, k=2), channels, channels)
        save_sae(sae, self.runs / "pooled", self._training)
        table = pq.read_table(self.runs / "lucid" / "latents.parquet")
        rows = table.to_pylist()
        for row in rows:
            row["top_images"] = [image | {"patch": None} for image in row["top_images"]]
            row["top_captions"] = [
                caption | {"position": None, "words": [], "activations": []}
                for caption in row["top_captions"]
            ]
        metadata = json.loads(table.schema.metadata[METADATA_KEY]) | {
            "inputs": "pooled",
            "dictionary_sha256": dictionary_sha256(sae),
            "score": None,
        }
        described = table.schema.with_metadata({METADATA_KEY: json.dumps(metadata)})
        write_latents(self.runs / "pooled" / "latents.parquet", pa.Table.from_pylist(rows, described))

    def _measure_stability(self) -> None:
        """Of latent 0 of lucid one other training of two knows; of the others nothing was found."""
        shares = [0.5, *[None] * (self.sae.shared_width - 1)]
        runs = [self.runs / variant for variant in ("lucid", "shared_only", "pooled")]
        figures = {"both": {"decoder": {"found": 0.5}}}
        write_stability(runs[0] / STABILITY_FILE, runs, figures, {}, [shares, shares, []])

    @property
    def _training(self) -> dict[str, Any]:
        return training_identity({}, self.caches["val"])

    def _write_curve(self, variant: str, term: str, text: str) -> None:
        path = self.runs / variant / "curves" / "plots" / "metrics" / f"{term}.tsv"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
