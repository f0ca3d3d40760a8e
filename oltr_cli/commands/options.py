"""Options that several commands share, each defined once; each command sets its own default."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oltr_cli.commands import complete

if TYPE_CHECKING:
    from oltr_cli.launching.settings import Launcher
    from oltr_cli.protocol.label_sets import SetRule

METHODS_FLAGS = ("--methods", "--method", "-m")

BatchSize = Annotated[int, typer.Option(min=1, help="Images per batch of the network")]
ClassWeight = Annotated[
    float | None,
    typer.Option(
        "--class-weight",
        metavar="W",
        help="For --coverage: 0 is one threshold for all classes, 1 one for each class, which keeps rare classes and "
        "makes larger sets; default 0.5",
        show_default=False,
    ),
]
Coverage = Annotated[
    float | None,
    typer.Option(
        "--coverage",
        metavar="SHARE",
        help="Sets of labels that hold the true class of this share of known images, such as 0.9: conformal "
        "prediction, calibrated on the run's validation scores",
        show_default=False,
    ),
]
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


def device_option(help_: str) -> Any:
    """``--device``; a name that is none is refused before anything is done."""

    def checked(device: str | None) -> str | None:
        from oltr_cli.base.machine import check_name

        return check_name(device)

    return typer.Option(help=help_, callback=checked)


Device = Annotated[str | None, device_option("cpu, cuda, cuda:1, mps; default the fastest available")]
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
LauncherName = Annotated[
    str | None,
    typer.Option(
        "--launcher",
        metavar="local:N|slurm",
        help="Make the runs as jobs: N at once on this machine, or on a cluster with SLURM; see: oltr jobs",
        show_default=False,
    ),
]
LauncherSets = Annotated[
    list[str] | None,
    typer.Option(
        "--launcher-set",
        metavar="KEY=VALUE",
        help="For --launcher: partition=gpu, gres=gpu:1, time=8:00:00, account=…; repeatable (docs/cluster.md)",
        show_default=False,
    ),
]
LoadingWorkers = Annotated[int | None, typer.Option(min=0, help="Number of loading processes; does not change results")]
NoTrack = Annotated[bool, typer.Option("--no-track", help="Do not track the run in MLflow")]
OwnConfidence = Annotated[
    bool,
    typer.Option("--own-confidence", help="The run's own confidence, although oltr tune detector chose a detector"),
]
Padded = Annotated[
    bool,
    typer.Option(
        "--padded",
        help="Fill every batch up to --batch-size: the same bits however images come together, but slower",
    ),
]
Probe = Annotated[
    bool,
    typer.Option("--probe", help="With --dry-run: measure the time of 20 steps of each kind of run; keeps nothing"),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show only warnings on stderr, no progress")]
SetScore = Annotated[
    str | None,
    typer.Option(
        "--set-score",
        metavar="softmax|pas",
        help="For --coverage: softmax, or pas, which divides it by the share of the class in training; default softmax",
        show_default=False,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="IMAGES",
        help="With --dry-run: images per second of training, for the time",
        show_default=False,
    ),
]
Shots = Annotated[
    str, typer.Option(metavar="paper|code", help="Shot groups: paper (> 100, < 20) or code (≥ 100, ≤ 20)")
]


TaxonProbability = Annotated[
    float | None,
    typer.Option(
        "--at-least",
        metavar="SHARE",
        help="For --taxonomy: the probability that the answer must reach, above 0.5; default 0.9",
        show_default=False,
    ),
]
Taxonomy = Annotated[
    Path | None,
    typer.Option(
        "--taxonomy",
        metavar="FILE.csv",
        help="Answer with the most specific name that is sure enough: lines of child,parent or class,level1,level2 "
        "(nearest level first)",
        show_default=False,
    ),
]


def given_launcher(
    text: str | None, sets: list[str] | None, needs: bool, missing: str, *, workers: bool = False
) -> "Launcher | None":
    """The launcher of ``--launcher``; None without it.

    Args:
        needs: whether the command makes several runs; ``missing``: what to add if it does not.
        workers: see ``read_launcher``.
    Raises:
        UsageProblem: it is given in vain, or as ``read_launcher``.
    """
    from oltr_cli.errors import UsageProblem

    if text is None:
        if sets:
            raise UsageProblem("--launcher-set is for jobs: add --launcher local:N or --launcher slurm")
        return None
    if not needs:
        raise UsageProblem(f"--launcher only applies to several runs; add {missing}")
    from oltr_cli.launching.settings import read_launcher

    return read_launcher(text, sets or [], workers=workers)


def set_rule(coverage: float | None, score: str | None, class_weight: float | None) -> "SetRule | None":
    """The rule for label sets; None without ``--coverage``.

    Raises:
        UsageProblem: a value is out of range, or one of the others is given without ``--coverage``.
    """
    from oltr_cli.errors import UsageProblem
    from oltr_cli.protocol.label_sets import SetRule

    if coverage is None:
        if score is not None or class_weight is not None:
            raise UsageProblem("--set-score and --class-weight are for label sets: add --coverage 0.9")
        return None
    return SetRule.of(coverage, score, class_weight)


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
