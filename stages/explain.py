"""Show what a trained variant sees in a picture."""

from pathlib import Path

from rich.table import Table

from pipeline.backbone.loading import load_backbone
from pipeline.datasets.pictures import read_upright
from pipeline.figures.explanation import explanation_figure
from pipeline.figures.style import check_outputs
from pipeline.interpretation.explanation import Explanation, explain
from pipeline.interpretation.identity import dictionary_sha256
from pipeline.interpretation.latent_table import LATENTS_FILE, read_latents
from pipeline.params import Params
from pipeline.runs.config import refuse_other_backbone
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.saving import load_sae
from stages.drawing import write_drawing
from stages.progress import note
from stages.terminal import Terminal


def explain_picture(params: Params, run: Path, image: Path, text: str, count: int, output: Path) -> None:
    """Print the shared latents that `image`, and `text` if it is not empty, fire, and draw them into `output`.

    Latents have names if the run was interpreted.

    Raises:
        ConfigError: the variant knows no places, the text has no words or too many, or `output` has an unknown suffix.
        DatasetError: the picture cannot be read.
        RunError: the run is not trained, is damaged, or was trained on activations of another backbone.
    """
    check_outputs([output])
    picture = read_upright(image)
    sae = load_sae(run)
    names = _names(run / LATENTS_FILE, sae)
    backbone = load_backbone(params.backbone)
    refuse_other_backbone(run, backbone.identity, "that of the options (`backbone`)")
    explanation = explain(sae, backbone, picture, text)
    Terminal().print(_table(explanation, names, count), soft_wrap=False)
    if explanation.unknown_words:
        note(
            f"--text: {explanation.unknown_words} of its {len(explanation.words)} words are ones that the backbone's "
            "tokenizer does not know; they all look alike to it, so what they fire says little"
        )
    write_drawing(explanation_figure(picture, explanation, names, count), output)


def _names(path: Path, sae: SparseAutoencoder) -> dict[int, str]:
    if not path.exists():
        return {}
    latents, metadata = read_latents(path)
    if metadata.get("dictionary_sha256") != dictionary_sha256(sae):
        note(f"{path} is of another dictionary; run `concord interpret` for names")
        return {}
    rows = latents.select(["latent", "name", "named"]).to_pylist()
    return {row["latent"]: row["name"] for row in rows if row["named"]}


def _table(explanation: Explanation, names: dict[int, str], count: int) -> Table:
    fired = len(explanation.latents)
    table = Table(
        title=f"{min(count, fired)} of {fired} shared latents that fire", title_justify="left", box=None
    )
    for column in ("latent", "name", "activation", "patches", "peak (row, column)", "words"):
        table.add_column(column, justify="right" if column in {"latent", "activation", "patches"} else "left")
    for latent in explanation.latents[:count]:
        fires = zip(explanation.words, latent.words, strict=True)
        words = [word.text for word, value in fires if value > 0]
        peak = ", ".join(map(str, latent.peak))
        table.add_row(
            str(latent.latent),
            names.get(latent.latent, ""),
            f"{latent.activation:.2f}",
            str(int((latent.heat > 0).sum())),
            peak,
            " ".join(words),
        )
    return table
