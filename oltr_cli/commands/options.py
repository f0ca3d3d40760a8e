"""Options that several commands share, each defined once; each command sets its own default."""

from pathlib import Path
from typing import Annotated

import typer

from oltr_cli.commands import complete

METHODS_FLAGS = ("--methods", "--method", "-m")

BatchSize = Annotated[int, typer.Option(min=1, help="Images per batch of the network")]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        "-d",
        help="Built-in dataset, or one made by oltr data build; default glyphs-lt. See: oltr ls datasets",
        autocompletion=complete.datasets,
    ),
]
DecodingWorkers = Annotated[
    int | None, typer.Option(min=0, help="Number of decoding processes; does not change results")
]
DatasetOfRuns = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        "-d",
        autocompletion=complete.datasets,
        help="Dataset whose finished runs to tune; default glyphs-lt",
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default the fastest available")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file")]
FinishedRun = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        autocompletion=complete.runs,
        help="Finished run: its folder, its name, or part of its name; if several match, the current recipe. "
        "NAME@latest: the one that finished last",
    ),
]
ImagePaths = Annotated[
    list[str],
    typer.Argument(metavar="PATH", help="Images, folders (searched recursively), patterns; - reads paths from stdin"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object")]
LoadingWorkers = Annotated[int | None, typer.Option(min=0, help="Number of loading processes; does not change results")]
NoTrack = Annotated[bool, typer.Option("--no-track", help="Do not track the run in MLflow")]
OwnConfidence = Annotated[
    bool,
    typer.Option("--own-confidence", help="The run's own confidence, although oltr tune detector chose a detector"),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show only warnings on stderr, no progress")]
Shots = Annotated[
    str, typer.Option(metavar="paper|code", help="Shot groups: paper (> 100, < 20) or code (≥ 100, ≤ 20)")
]


def _add(files: list[Path] | None) -> list[Path] | None:
    from oltr_cli.base.added_files import add_file
    from oltr_cli.errors import OltrError

    for file in files or ():
        try:
            add_file(file)
        except OltrError as error:
            raise typer.BadParameter(str(error)) from None
    return files


_RULES = (
    "Reject samples whose confidence is below τ. A number, id_quantile:0.95, group_quantile:0.95 or "
    "class_quantile:0.95 (a τ for each shot group or class), val_open, tuned (saved by oltr tune "
    "threshold), own (the rule of the run's method or detector)"
)
_DEFAULT_RULE = "; default tuned if there is one, else own"
ThresholdOption = Annotated[
    str | None,
    typer.Option(
        "--threshold",
        metavar="τ|RULE",
        help=f"{_RULES}, or oracle_test (best on the test set itself, marked †){_DEFAULT_RULE}",
    ),
]
ThresholdOfRun = Annotated[
    str | None, typer.Option("--threshold", metavar="τ|RULE", help=f"{_RULES}{_DEFAULT_RULE}")
]  # for images of one's own: no rule that reads the test set

MethodOfRuns = Annotated[
    str | None, typer.Option("--method", "-m", autocompletion=complete.methods, help="Only this method's runs")
]
MethodsFrom = Annotated[
    list[Path] | None,
    typer.Option(
        "--methods-from",
        metavar="FILE",
        help="Python file with a method, detector or backbone, named like the file; repeatable. Or set OLTR_METHODS",
        callback=_add,
        is_eager=True,
    ),
]
