"""``oltr figure``."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oltr_cli.commands import complete
from oltr_cli.commands.options import (
    METHODS_FLAGS,
    Json,
    LauncherName,
    LauncherSets,
    MethodsFrom,
    Probe,
    Rate,
    Shots,
    ThresholdOption,
    device_option,
    given_launcher,
)
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from oltr_cli.errors import OltrError
    from oltr_cli.figures.request import Request
    from oltr_cli.launching.settings import Launcher
    from oltr_cli.pipeline.working import Failures
    from oltr_cli.tables.rows import RowSpec


def figure(
    figures: Annotated[
        list[str], typer.Argument(metavar="FIGURE…", help="3, 4, 5, 6, 7, 8a, 8b, 8c; 8 for its three parts; or all")
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", "-d", autocompletion=complete.datasets, help="Dataset whose runs to draw; default glyphs-lt"
        ),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Draw the runs of your own recipe file")] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            *METHODS_FLAGS,
            autocompletion=complete.methods_listed,
            metavar="NAMES",
            help="Methods instead of the paper's, separated by commas; in 6 the others are compared with the first",
        ),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Train the runs that are missing first")] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="With --run: seeds 0 … N−1; default 1")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --run: show what would run, and what it costs; draw nothing")
    ] = False,
    rate: Rate = None,
    probe: Probe = False,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Draw only this seed; default all finished ones, for 3, 4 and 7 the first")
    ] = None,
    threshold: ThresholdOption = None,
    shots: Shots = "paper",
    images: Annotated[
        list[str] | None,
        typer.Option(
            "--image", metavar="NAME", help="For 4 and 7: test image to show, by name or part of it; repeatable"
        ),
    ] = None,
    alphas: Annotated[
        str, typer.Option(metavar="NUMBERS", help="For 8a: values of the exponent α; default 1,1.5,2,3,6")
    ] = "",
    lot: Annotated[int, typer.Option(min=0, help="For 3 and 8c: seed of the random choice of classes")] = 0,
    format_: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", metavar="png|svg|pdf", help="One or more, separated by commas; default png"),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where to write; default figures/DATASET")] = None,
    device: Annotated[
        str | None, device_option("For 4, 7 and --run: cpu, cuda, cuda:1, mps; default the fastest")
    ] = None,
    launcher: LauncherName = None,
    launcher_sets: LauncherSets = None,
    json_: Json = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Draw the paper's figures from your runs: pictures, and the numbers in them as CSV.

    3 t-SNE of features · 4 modulated attention · 5 ablation · 6 F1 gain over plain · 7 infused concepts ·
    8a accuracy against α · 8b F-measure against τ · 8c F-measure against the number of open classes.
    --threshold is for 5, 6 and 8c.

    ```
    oltr figure 8b
    oltr figure 8b 8c 6 --dataset tiny-imagenet-lt --format png,pdf
    oltr figure 8a --run --seeds 3           train what is missing first
    oltr figure 7 --image n02129165/val_12   choose the image
    oltr figure all --out paper/figures      every figure whose runs are finished
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.base.machine import is_main_process
    from oltr_cli.commands.dry_run import check_options, show_graph
    from oltr_cli.errors import UsageProblem
    from oltr_cli.figures import catalogue
    from oltr_cli.figures.request import Request
    from oltr_cli.figures.save import read_formats
    from oltr_cli.planning.source import find_source
    from oltr_cli.protocol.thresholds import ThresholdRule
    from oltr_cli.tables.make import rows_graph

    if seeds and not run:
        raise UsageProblem("--seeds only applies to runs that --run trains; add --run")
    jobs = given_launcher(launcher, launcher_sets, run, "--run")
    check_options(dry_run, rate, probe, run)
    chosen, formats = catalogue.names(figures), read_formats(format_ or [])
    source = find_source(dataset, recipe, "glyphs-lt")
    request = Request(
        source.dataset,
        source.recipe,
        source.option,
        methods=tuple(methods or ()),
        seed=seed,
        rule=ThresholdRule.parse(threshold) if threshold is not None else None,
        shots=shots,
        images=tuple(images or ()),
        alphas=_numbers(alphas),
        lot=lot,
        device=device,
        display=Display(),
    )
    if is_main_process():
        request.display.starting_torch()
    wanted = range(seeds or 1) if seed is None else [seed]
    if dry_run:
        how = {"rate": rate, "probe": probe, "device": device}
        source_recipe, rows, problems = _rows(chosen, request)
        if not rows and problems:
            raise problems[0]
        for problem in problems if "all" not in figures else ():
            request.display.warn(str(problem))
        show_graph(rows_graph(rows, wanted, source_recipe, request.option), request.display, as_json=json_, **how)
        return
    failures = _make(chosen, request, wanted, jobs) if run else []
    if not is_main_process():
        return
    done = _draw_all(chosen, request, out or Path("figures") / source.dataset, formats, not json_)
    done.failures += failures
    if json_ and done.drawn:
        print_json({"figures": done.drawn})
    _end(done, request, "all" in [text.lower() for text in figures])


@dataclass
class _Done:
    """Figures that were drawn, figures that could not be drawn and why, and runs that failed."""

    drawn: "list[dict[str, Any]]"
    problems: "list[tuple[str, OltrError]]"
    failures: "list[tuple[str, OltrError]]"


def _draw_all(chosen: list[str], request: "Request", folder: Path, formats: list[str], tell: bool) -> _Done:
    """Draw every figure."""
    from oltr_cli.errors import OltrError, released
    from oltr_cli.figures import catalogue
    from oltr_cli.figures.save import save

    done = _Done([], [], [])
    for name in chosen:
        spec = catalogue.load(name)
        try:
            gathered = spec.gather(request)
            paths = save(spec, gathered, request.dataset, folder, formats)
        except OltrError as problem:
            done.problems.append((name, released(problem)))
            continue
        done.drawn.append(
            {
                "figure": name,
                "title": spec.title,
                "dataset": request.dataset,
                "files": [str(path) for path in paths],
                "runs": [run.name for run in gathered.runs],
                "notes": list(gathered.notes),
            }
        )
        if tell:
            _tell(done.drawn[-1])
    return done


def _make(chosen: list[str], request: "Request", seeds: Iterable[int], launcher: "Launcher | None") -> "Failures":
    """Train what the figures need and is missing, each run once."""
    from oltr_cli.tables.make import make_rows

    recipe, rows, _ = _rows(chosen, request)  # the problems are told when the figures are drawn
    return make_rows(rows, seeds, recipe, request.option, request.device, request.display, launcher)


def _rows(chosen: list[str], request: "Request") -> "tuple[str, list[RowSpec], list[OltrError]]":
    """The recipe, the rows whose runs the figures need, and why others cannot be drawn of this dataset."""
    from oltr_cli.errors import OltrError, UsageProblem
    from oltr_cli.figures import catalogue

    if request.source is None:
        raise UsageProblem(f"--run needs a recipe, and there is none for '{request.dataset}'; give --recipe FILE")
    rows: list[RowSpec] = []
    problems: list[OltrError] = []
    for name in chosen:
        try:
            rows += [row for row in catalogue.load(name).rows(request) if row.known and row not in rows]
        except OltrError as problem:
            problem.args = (f"figure {name}: {problem}",)
            problems.append(problem)
    return request.source, rows, problems


def _tell(one: "dict[str, Any]") -> None:
    print(f"figure {one['figure']}  {one['title']}, {one['dataset']}")
    for kind, texts in (("wrote", one["files"]), ("run", one["runs"]), ("note", one["notes"])):
        for text in texts:
            print(f"  {kind:<6} {text}")
    sys.stdout.flush()


def _end(done: _Done, request: "Request", everything: bool) -> None:
    """Report what could not be drawn or trained and exit with its code; with ``all``, missing figures are no error."""
    from rich.markup import escape

    from oltr_cli.base.added_files import given_files
    from oltr_cli.figures.catalogue import FIGURES
    from oltr_cli.pipeline.working import warn_of

    if len(done.problems) == 1 and not done.drawn and not done.failures:
        name, problem = done.problems[0]
        problem.args = (f"figure {name}: {problem}",)
        raise problem
    for name, problem in done.problems:
        request.display.warn(f"figure {name}: {problem}")
    if done.drawn:
        names = list(FIGURES)
        ruled_out = {name for name, _ in done.problems}
        after = [name for name in names[names.index(done.drawn[-1]["figure"]) + 1 :] if name not in ruled_out]
        report = f"report --dataset {request.dataset}{given_files()}"
        following = f"figure {after[0]} {request.option}" if after else report
        request.display.say(f"[dim]next[/]  oltr {escape(following)}")
    if done.failures:
        warn_of(done.failures, request.display)
        raise typer.Exit(1)
    if done.problems and not (everything and done.drawn):
        raise typer.Exit(done.problems[0][1].exit_code)


def _numbers(text: str) -> tuple[float, ...]:
    """``1,2,6`` as numbers."""
    from oltr_cli.errors import UsageProblem

    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UsageProblem(f"--alphas {text}: give numbers separated by commas, as in 1,2,6") from None
