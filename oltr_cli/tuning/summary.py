"""Results of a study as plain numbers and as tables; one line per finished trial."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from oltr_cli.base.display import duration, fitted
from oltr_cli.errors import DataProblem, UsageProblem, nearest
from oltr_cli.planning.source import lists_of
from oltr_cli.runs.folder import find_studies, runs_root
from oltr_cli.tuning.about import About
from oltr_cli.tuning.best import run_command, search_command
from oltr_cli.tuning.claim import OUTCOME, REASON
from oltr_cli.tuning.space import Value, shown
from oltr_cli.tuning.study import Study, load_study

if TYPE_CHECKING:
    from pathlib import Path

    from optuna.trial import FrozenTrial

STATES = {"COMPLETE": "finished", "PRUNED": "cut short", "FAIL": "failed", "RUNNING": "running"}
INTERRUPTED = "interrupted"  # counts as running, but no worker has it
SHORT = {"open/f_measure": "open/F"}
BESIDE = ("closed/overall", "closed/few", "open/f_measure")  # shown for each trial besides the objective
VALUE = 15  # width of the objective in the line of a trial


def find_study(text: str | None) -> "Path":
    """The folder of the study that ``text`` names: its name, or a part that matches only one; None: the newest.

    Raises:
        UsageProblem: there is no such study, or several match (they are named).
    """
    there = find_studies()
    if not there:
        raise UsageProblem(f"{runs_root()} has no studies yet; start one: oltr tune lambda")
    if text is None:
        return max(there.values(), key=lambda path: max(p.stat().st_mtime for p in (path, path / "trials")))
    fitting = [name for name in there if text in name]
    if text in there or len(fitting) == 1:
        return there[text if text in there else fitting[0]]
    if fitting:
        raise UsageProblem(f"'{text}' matches {len(fitting)} studies: {', '.join(fitting[:6])}; name one of them")
    raise UsageProblem(f"no study '{text}'{nearest(text, there)}")


def summarise(study: Study) -> dict[str, Any]:
    """The study as one JSON object: what it is, its best trial, all trials, and how much each key matters."""
    about, best = study.about, study.best()
    trials = study.trials()
    states = _states(study, trials)
    return {
        "study": study.name,
        "method": about.method,
        "dataset": about.dataset,
        "seed": about.seed,
        "objective": about.objective,
        "direction": "maximize" if about.maximize else "minimize",
        "space": {d.key: d.text for d in about.space},
        "best": None if best is None else _facts(best, STATES["COMPLETE"]),
        "importance": importance(study),
        "trials": [_facts(trial, states[trial.number]) for trial in trials],
    }


def importance(study: Study) -> dict[str, float]:
    """Share of each tuned key in how much the objective varies, 0 … 1 (PED-ANOVA, Watanabe et al., IJCAI 2023).

    Empty if only one key is tuned, or too few trials have finished.
    """
    from optuna.importance import get_param_importances

    values = [t.values[0] for t in study.finished()]
    if len(study.about.space) < 2 or len(values) < 4 or min(values) == max(values):
        return {}
    try:
        return {key: float(share) for key, share in get_param_importances(study.study).items()}
    except (ValueError, RuntimeError):
        return {}


def tables(study: Study, width: int) -> RenderableType:
    """The best trial and all trials, to be printed with ``crop=False``.

    Args:
        width: of the console; columns other than values and objective are left out to fit it.
    """
    about, best, trials = study.about, study.best(), study.trials()
    states = _states(study, trials)
    counts = {state: sum(s == state for s in states.values()) for state in (*STATES.values(), INTERRUPTED)}
    found = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    line = f"\n{about.objective} on validation: {found or 'no trial yet'}"
    title = Text.assemble((study.name, "bold"), line, no_wrap=True, overflow="ignore")
    if not trials:
        return title
    beside = [name for name in BESIDE if name != about.objective and any(name in _metrics(t) for t in trials)]
    side = [*reversed(beside), "time", "τ"]

    def trials_without(left_out: Sequence[str]) -> Table:
        table = Table(box=ROUNDED)
        table.add_column("trial", justify="right", no_wrap=True)
        for d in about.space:
            table.add_column(d.name, justify="right", no_wrap=True)
        table.add_column(_head(about.objective), justify="right", no_wrap=True)
        kept = [name for name in (*beside, "τ", "time") if name not in left_out]
        for name in kept:
            table.add_column(_head(name), justify="right", no_wrap=True, style="dim" if name == "time" else None)
        table.add_column("", no_wrap=True)
        for trial in trials:
            is_best = best is not None and trial.number == best.number
            finished = trial.state.name == "COMPLETE"
            remark = "best" if is_best else "" if finished else states[trial.number]
            facts = _beside(trial)
            table.add_row(
                str(trial.number),
                *(escape(shown(trial.params.get(d.key))) for d in about.space),
                f"{trial.values[0]:.4f}" if finished else "–",
                *(facts.get(name, "–") for name in kept),
                f"cut at {trial.last_step}" if trial.state.name == "PRUNED" else remark,
                style="bold green" if is_best else "" if finished else "dim",
            )
        return table

    table, left_out = fitted(trials_without, side, width)
    parts: list[RenderableType] = [title, table]
    if of_earlier_build(study):
        parts.append(Text(f"{about.dataset} was built again since: this study is of its earlier build", style="yellow"))
    if left_out:
        parts.append(Text(f"not shown, to fit the width: {', '.join(left_out)}; --json has all", style="dim"))
    shares = importance(study)
    if shares:
        parts.append(Text("importance: " + ", ".join(f"{key} {share:.2f}" for key, share in shares.items())))
    failed = [f"trial {t.number} failed: {t.user_attrs[REASON]}" for t in trials if t.state.name == "FAIL"]
    return Group(*parts, *(Text(reason, style="red") for reason in failed))


def next_commands(study: Study) -> list[str]:
    """What to type: until a trial has finished, to continue the study; then to run the best."""
    if of_earlier_build(study):
        return []
    if study.best() is None:
        return [search_command(study.about)]
    return [run_command(study.about, study.path / "best.toml")]


def of_earlier_build(study: Study) -> bool:
    """Whether the dataset was built again since: its lists differ, and no run of the study can be made."""
    digest = study.about.chain[-1]["data"].get("lists_digest")
    return digest is not None and lists_of(study.about.recipe) not in (None, digest)


def open_study(text: str | None, database: str | None) -> Study:
    """The study that ``text`` names; see ``find_study``."""
    folder = find_study(text)
    study = load_study(folder, database)
    if not study.trials():
        raise DataProblem(f"{study.name}: no trial was started yet")
    return study


def _states(study: Study, trials: "list[FrozenTrial]") -> dict[int, str]:
    """The result of each trial, by number."""
    abandoned = study.abandoned()
    return {t.number: INTERRUPTED if t.number in abandoned else STATES[t.state.name] for t in trials}


def _facts(trial: "FrozenTrial", state: str) -> dict[str, Any]:
    note = trial.user_attrs.get(OUTCOME, {})
    return {
        "number": trial.number,
        "state": state,
        "value": trial.values[0] if trial.state.name == "COMPLETE" else None,
        "params": trial.params,
        **note,
        **({"reason": trial.user_attrs[REASON]} if REASON in trial.user_attrs else {}),
    }


def _metrics(trial: "FrozenTrial") -> dict[str, float | None]:
    return trial.user_attrs.get(OUTCOME, {}).get("metrics", {})


def _beside(trial: "FrozenTrial") -> dict[str, str]:
    """What is shown for a trial besides its values and the objective, by column."""
    note = trial.user_attrs.get(OUTCOME, {})
    numbers = {**_metrics(trial), "τ": note.get("threshold")}
    facts = {name: f"{value:.4f}" for name, value in numbers.items() if value is not None}
    # Time spent training; an interrupted trial started long before.
    seconds = note.get("seconds") or (trial.duration.total_seconds() if trial.duration else None)
    return facts if seconds is None else {**facts, "time": duration(seconds)}


def _head(name: str) -> str:
    return SHORT.get(name, name).replace("/", "\n", 1)


def header(about: About) -> str:
    """The head of the lines."""
    names = " ".join(f"{d.name:>{_width(d.name)}}" for d in about.space)
    return f"[dim]{'trial':>5} {names} {about.objective.partition('/')[2]:>{VALUE}} {'τ':>8} {'time':>7}[/]"


def line(
    about: About,
    number: int,
    values: Mapping[str, Value],
    value: float | None,
    tau: float | None,
    seconds: float,
    remark: str = "",
) -> str:
    """One trial; without a value, ``remark`` says why."""
    tried = " ".join(f"{escape(shown(values[d.key])):>{_width(d.name)}}" for d in about.space)
    result = f"{'–' if value is None else f'{value:.4f}':>{VALUE}} {'–' if tau is None else f'{tau:.4f}':>8}"
    return f"{number:>5} {tried} {result} {duration(seconds):>7}  {remark}".rstrip()


def _width(name: str) -> int:
    return max(9, len(name))
