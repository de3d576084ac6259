"""The `concord` command: one subcommand per stage. Imports are inside so that each starts only what it needs."""

# ruff: noqa: PLC0415
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import ConfigError
from pipeline.training.options import ControlName
from stages.cache_cli import cache_app
from stages.command_group import Commands
from stages.figure_cli import figure_app
from stages.paths import CEILING, PARAMS, RUNS, STUDY_PARAMS, run_folder
from stages.run_cli import run_app
from stages.terminal import Terminal

app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(cache_app, name="cache")
app.add_typer(figure_app, name="figure")
app.add_typer(run_app)
ParamsOption = Annotated[Path, typer.Option("--params", help="The file of options.")]
VariantArgument = Annotated[str, typer.Argument(help="A key of `variants` in the options.")]
SeedOption = Annotated[int | None, typer.Option(help="Instead of train.seed.")]
RunOption = Annotated[Path | None, typer.Option(help="The run's folder; runs/VARIANT by default.")]


@app.command()
def check(params: ParamsOption = PARAMS) -> None:
    """Look at every option, and at the files, devices and stages that they name, before any work starts."""
    from pipeline.params import load_params
    from stages.check import refuse_problems

    options = load_params(params)
    refuse_problems(options, params)
    Terminal().print(
        f"{params}: nothing wrong; {len(options.variants)} variants, {len(options.dataset.splits)} splits"
    )


@app.command()
def options() -> None:
    """Print the page of all options: what each may be, its default, what it decides, and what it runs again."""
    from stages.graph_check import GRAPH
    from stages.options import options_page

    typer.echo(options_page(Path(GRAPH)), nl=False)


@app.command()
def scenes(params: ParamsOption = PARAMS) -> None:
    """Draw the embedded world: pictures, captions, boxes and masks in COCO layout."""
    from stages.scenes import draw_scenes
    from stages.stage_options import stage_options

    draw_scenes(stage_options(params))


@app.command()
def backbone(folder: Annotated[Path, typer.Argument(help="Where the trained weights go.")]) -> None:
    """Train the embedded tiny SigLIP (hours on a CPU; its weights are committed, so this is rarely needed)."""
    from stages.backbone import train_backbone

    train_backbone(folder)


@app.command()
def companions() -> None:
    """Draw the embedded decoder's pictures: a world whose nouns have companions, and one whose nouns have none."""
    from stages.companions import draw_companions

    draw_companions()


@app.command()
def decoder(folder: Annotated[Path, typer.Argument(help="Where the trained weights go.")]) -> None:
    """Train the embedded tiny LLaVA (ten minutes of one core; its weights are committed, so this is rarely needed)."""
    from stages.decoder import train_decoder

    train_decoder(folder)


@app.command()
def encode(
    split: Annotated[str, typer.Argument(help="A key of dataset.splits.")],
    params: ParamsOption = PARAMS,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Keep a cache that is whole, repair a damaged one, delete one of another identity.",
        ),
    ] = False,
) -> None:
    """Stage one: run the frozen backbone once and cache every activation of a split."""
    from stages.encode import encode_cache
    from stages.stage_options import stage_options

    encode_cache(stage_options(params), split, replace=replace)


@app.command()
def train(
    variants: Annotated[list[str], typer.Argument(help="Keys of `variants` in the options.")],
    params: ParamsOption = PARAMS,
    seed: SeedOption = None,
    run: RunOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Train anew what is finished or foreign; resume what is not.")
    ] = False,
) -> None:
    """Stage two: train variants' dictionaries from the training cache, several on one stream of batches."""
    from stages.stage_options import stage_options
    from stages.train import train_variants

    if run is not None and len(variants) > 1:
        raise ConfigError("--run: is the folder of one run; leave it out to train several variants")
    options = stage_options(params)
    recipes = {name: options.variant(name) for name in variants}
    if seed is not None:
        recipes = {name: recipe.with_seed(seed) for name, recipe in recipes.items()}
    train_variants(recipes, {name: run or RUNS / name for name in recipes}, replace=replace)


@app.command()
def evaluate(variant: VariantArgument, params: ParamsOption = PARAMS, run: RunOption = None) -> None:
    """Measure a trained variant on the validation cache."""
    from stages.evaluate import evaluate_run
    from stages.stage_options import stage_options

    evaluate_run(stage_options(params), run or run_folder(variant))


@app.command()
def interpret(variant: VariantArgument, params: ParamsOption = PARAMS, run: RunOption = None) -> None:
    """Name a trained variant's shared latents."""
    from stages.interpret import interpret_run
    from stages.stage_options import stage_options

    interpret_run(stage_options(params), run or run_folder(variant))


@app.command()
def report(
    variants: Annotated[list[str], typer.Argument(help="The trained variants to show.")],
    params: ParamsOption = PARAMS,
) -> None:
    """Write the static report of what was trained."""
    from stages.report import write_report
    from stages.stage_options import stage_options

    write_report(stage_options(params), variants)


@app.command()
def study(params: ParamsOption = PARAMS) -> None:
    """Set side by side what is measured of the study so far, and say what is left: docs/results.md."""
    from stages.stage_options import stage_options
    from stages.study import write_study
    from stages.study_options import study_options

    write_study(stage_options(params), study_options(STUDY_PARAMS))


@app.command()
def repeat(
    variant: VariantArgument,
    seed: Annotated[
        int | None, typer.Option(min=0, help="One training alone, from this seed, measured or not.")
    ] = None,
    budget: Annotated[int, typer.Option(min=1, help="With --seed: times the variant's epochs.")] = 1,
    sparsity: Annotated[
        int, typer.Option(min=1, help="With --seed: the variant's active latents divided by this.")
    ] = 1,
    control: Annotated[
        ControlName | None, typer.Option(help="With --seed: what keeps it from learning.")
    ] = None,
    params: ParamsOption = PARAMS,
) -> None:
    """Train, name and measure a variant as often as the study asks, below study/runs and study/measured."""
    from pipeline.study.options import Trial
    from stages.repeat import repeat_candidate, repeat_variant
    from stages.stage_options import stage_options
    from stages.study_options import study_options

    options, asked = stage_options(params), study_options(STUDY_PARAMS)
    if seed is None:
        repeat_candidate(options, asked, variant)
    else:
        repeat_variant(options, asked, Trial(variant, seed, budget, sparsity, control))


@app.command()
def ceiling(
    output: Annotated[Path, typer.Option(help="The file of results.")] = CEILING,
    params: ParamsOption = PARAMS,
) -> None:
    """Measure how well supervised probes of the backbone's activations find the true concepts."""
    from stages.ceiling import measure_ceiling
    from stages.stage_options import stage_options

    measure_ceiling(stage_options(params), output)


@app.command()
def hallucination(
    model: Annotated[
        str | None, typer.Argument(help="A Hugging Face folder, or hf-hub:NAME, instead of states.model.")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="Instead of states.layer.")] = None,
    template: Annotated[
        str | None,
        typer.Option(help="The prompt, with <image> and {text}, instead of states.prompt.template."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="A data set in COCO layout, instead of dataset.root.")
    ] = None,
    run: Annotated[Path, typer.Option(help="Where the results go.")] = RUNS / "hallucination",
    questions: Annotated[
        list[Path] | None, typer.Option(help="POPE question files about val, instead of built ones.")
    ] = None,
    params: ParamsOption = PARAMS,
) -> None:
    """Ask a vision-language decoder POPE's questions about the data set, with and without VL-SAE's decoding."""
    from pipeline.language_models.options import hallucination_options
    from stages.hallucination import measure_hallucination
    from stages.stage_options import stage_options

    recipes = stage_options(params)
    options = hallucination_options(recipes.hallucination, model, layer, template)
    dataset = options.dataset or recipes.dataset
    if root is not None:
        dataset = dataset.model_copy(update={"root": root})
    measure_hallucination(options, dataset, run, questions or ())


@app.command()
def classify(
    variant: VariantArgument,
    images: Annotated[
        Path | None, typer.Option(help="Score FOLDER/CLASS/*.jpg or *.png instead of the embedded world.")
    ] = None,
    tuning_images: Annotated[
        Path | None, typer.Option(help="Tune alpha on this folder; without it, --images is split.")
    ] = None,
    template: Annotated[
        list[str] | None, typer.Option(help="A prompt for --images, with {} for the class; may be repeated.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Instead of classify.alpha.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Instead of classify.seeds.")] = None,
    pictures: Annotated[int | None, typer.Option(help="Instead of classify.pictures.")] = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="The control beside it: dictionaries as training begins with.")
    ] = False,
    params: ParamsOption = PARAMS,
    run: Annotated[
        list[Path] | None,
        typer.Option(help="A run's folder; may be repeated, for several trainings. runs/VARIANT by default."),
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="A folder whose folders are such runs.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="The file of results; classification.json of the run by default.")
    ] = None,
) -> None:
    """Measure zero-shot classification with and without a trained variant's concepts."""
    from pipeline.classification.options import ClassificationOptions
    from pipeline.classification.task import Folders
    from stages.classify import classify_pictures
    from stages.stage_options import stage_options

    if images is None and (tuning_images or template):
        raise ConfigError("--tuning-images, --template: belong to pictures of yours; give --images, too")
    recipes = stage_options(params)
    changes = {"alpha": alpha, "seeds": seeds, "pictures": pictures}
    given = {key: value for key, value in changes.items() if value is not None}
    options = ClassificationOptions.parse(recipes.classify.model_dump() | given, "classify")
    found = sorted(path for path in runs.iterdir() if path.is_dir()) if runs else run or [run_folder(variant)]
    folders = Folders(images, tuning_images, *([template] if template else [])) if images else None
    file = output or found[0] / "classification.json"
    classify_pictures(recipes, options, found, file, folders, untrained=untrained)


@app.command()
def doctor(
    params: ParamsOption = PARAMS,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what this machine will use and why, and check every operation against float64 (status 1 if one is wrong)."""
    import json

    from stages.doctor import examine, show, sound

    findings = examine(params)
    if as_json:
        typer.echo(json.dumps(findings, indent=2))
    else:
        show(findings, Terminal())
    if not sound(findings):
        raise typer.Exit(1)
