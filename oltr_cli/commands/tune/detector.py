"""``oltr tune detector``."""

import re
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from oltr_cli.commands import complete
from oltr_cli.commands.options import DatasetOfRuns, Device, Json, LoadingWorkers, MethodOfRuns, MethodsFrom, Quiet
from oltr_cli.commands.printing import print_json
from oltr_cli.commands.tune.threshold import selected_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from oltr_cli.base.display import Display
    from oltr_cli.runs.folder import Run
    from oltr_cli.tuning.detector import Choice


def detector(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            autocompletion=complete.runs,
            help="Only this run of a trained method: its folder, its name, or a part of its name that is unique",
            show_default=False,
        ),
    ] = None,
    dataset: DatasetOfRuns = None,
    method: MethodOfRuns = None,
    by: Annotated[
        str,
        typer.Option(metavar="groups|worst|all", help="AUROC that counts: mean over shot groups, worst group, or all"),
    ] = "groups",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap")] = 0,
    reset: Annotated[
        bool, typer.Option("--reset", help="Take the choice back: the run's own confidence again")
    ] = False,
    device: Device = None,
    workers: LoadingWorkers = None,
    quiet: Quiet = False,
    json_: Json = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Choose the open-set detector of finished runs from their saved validation scores; nothing is trained.

    Many detectors are fitted to the training set. If a run has no scores of it yet, its images are scored first.

    A detector is chosen only if it beats the run's own confidence by more than chance explains. From then on predict,
    evaluate, export and data active use it for the run, with τ by its own rule; tables, figures and the report keep the
    run's own confidence. Without open validation images, right predictions are ranked against wrong ones.

    ```
    oltr tune detector glyphs-lt/plain
    oltr tune detector --dataset tiny-imagenet-lt --method dme
    oltr tune detector glyphs-lt/plain --by worst
    oltr tune detector glyphs-lt/plain --reset
    ```
    """
    from rich.markup import escape

    from oltr_cli.base.added_files import given_files
    from oltr_cli.base.display import Display, SafeConsole
    from oltr_cli.errors import DataProblem, OltrError, UsageProblem

    display = Display(quiet)
    selected = _trained(selected_runs(dataset, method, run, display, option=""))
    if reset:
        _reset(selected, display, json_)
        return
    display.starting_torch()
    from oltr_cli.pipeline.rescoring import detector_names
    from oltr_cli.pipeline.training_scores import score_training_set
    from oltr_cli.tuning.detector import check_by, tune_detector

    criterion = check_by(by)
    not_scored: dict[Run, str] = {}
    for one in selected:
        try:
            score_training_set(one, display, device=device, workers=workers)
        except (DataProblem, UsageProblem) as error:
            not_scored[one] = str(error)
    done: list[Choice] = []
    problems: list[OltrError] = []
    with display.bar("judging detectors", len(selected) * len(detector_names()), "detectors") as bar:
        for one in selected:
            why = not_scored.get(one, "")
            try:
                done.append(
                    tune_detector(one, criterion, seed, advance=lambda name: bar.advance(title=name), not_scored=why)
                )
            except OltrError as error:
                problems.append(error)
    if json_ and done:
        print_json({"by": by, "seed": seed, "runs": [choice.as_json() for choice in done]})
    for choice in done:
        if not json_:
            console = SafeConsole()
            console.print(_table(choice, console.width), crop=False)
        for line in _said(choice):
            display.say(escape(line))
    if done:
        with_choice = [choice.run for choice in done if choice.chosen]
        has_open_val = any(one.scores("open_val").exists() for one in selected)
        rule = "" if has_open_val else " --rule id_quantile:0.95"
        following = f"oltr tune threshold --run {shlex.quote((with_choice or [done[-1].run])[0])}{rule}"
        display.say(f"[dim]next[/]  {escape(following + given_files())}")
        if with_choice:
            undo = f"oltr tune detector {shlex.quote(with_choice[0])} --reset"
            display.say(f"[dim]undo[/]  {escape(undo + given_files())}")
    for problem in problems[:-1]:
        display.warn(str(problem))
    if problems:
        raise problems[-1]


def _trained(selected: "list[Run]") -> "list[Run]":
    """Without the runs of detectors, which have no other detector."""
    from oltr_cli.errors import UsageProblem
    from oltr_cli.planning.registry import PLUS

    trained = [one for one in selected if PLUS not in one.method]
    if not trained:
        under = selected[0].method.partition(PLUS)[0]
        raise UsageProblem(f"{selected[0].name} is a run of a detector; choose one for the run of {under} under it")
    return trained


def _reset(selected: "list[Run]", display: "Display", json_: bool) -> None:
    from rich.markup import escape

    from oltr_cli.runs.choices import forget_chosen_detector

    forgotten = [one.name for one in selected if forget_chosen_detector(one.path)]
    if json_:
        print_json({"reset": forgotten})
    for name in forgotten:
        display.say(f"{escape(name)}: its own confidence again")
    if not forgotten:
        display.say("no detector was chosen, so nothing was changed")


def _said(choice: "Choice") -> "list[str]":
    """In words: what was chosen, and what could not be judged."""
    chosen = choice.chosen
    if chosen is None:
        why = choice.too_few or "no detector is better beyond chance"
        lines = [f"{choice.run} keeps its own confidence: {why}"]
    else:
        tau = f"τ = {chosen.threshold.shown} ({chosen.threshold.text})"
        lines = [f"{choice.run}: {chosen.name} is chosen, with {tau}; predict, evaluate and export use it"]
    alike: dict[str, list[str]] = {}  # reasons that differ only in the name of the detector
    for name, why in choice.left_out.items():
        alike.setdefault(re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "", why), []).append(name)
    return [*lines, *(f"not judged: {', '.join(names)}: {choice.left_out[names[0]]}" for names in alike.values())]


def _table(choice: "Choice", width: int) -> "Table":
    """All detectors, the best first; AUROCs by group are left out if they do not fit."""
    from rich.table import Table
    from rich.text import Text

    from oltr_cli.base.display import fitted

    groups = [name for name in choice.judged[0].groups if name != "all"]
    marked = any(one.saw_val for one in choice.judged)

    def shown_without(left_out: "Sequence[str]") -> Table:
        title = f"{choice.run}\n{choice.criterion}"
        table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left")
        table.caption = "* fitted to val, which judges it: never chosen" if marked else None
        kept = [name for name in groups if name not in left_out]
        table.add_column("confidence", no_wrap=True)
        for head in ("value", "− own", "interval", *kept, "all"):
            table.add_column(head, justify="right", no_wrap=True)
        for one in choice.judged:
            name = one.name + (" *" if one.saw_val else "")
            is_chosen = one.name == (choice.chosen.name if choice.chosen else "own")
            gain, interval = (
                ("", "") if one.name == "own" else (f"{one.gain:+.3f}", f"{one.low:+.3f} … {one.high:+.3f}")
            )
            cells = [f"{one.value:.3f}", gain, interval, *(f"{one.groups[g]:.3f}" for g in [*kept, "all"])]
            table.add_row(Text(name), *cells, style="bold green" if is_chosen else "")
        return table

    return fitted(shown_without, groups, width)[0]
