"""Which run a name means where several fit, and how the runs of one method differ."""

import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from oltr_cli.base.added_files import given_files
from oltr_cli.base.files import read_json
from oltr_cli.base.text import some
from oltr_cli.errors import DataProblem, OltrError, UsageProblem, nearest
from oltr_cli.planning.described import described
from oltr_cli.planning.plan import plan
from oltr_cli.planning.registry import PLUS, list_methods
from oltr_cli.planning.resolve import flatten
from oltr_cli.recipe.files import known_recipes, read_toml, recorded_recipe
from oltr_cli.runs.folder import Run, find_runs, run_from_path, runs_root
from oltr_cli.runs.result import RunResult

LATEST = "@latest"
_ELSEWHERE = (
    "data.root",
    "data.lists",
    "method",
    "added.digests",
)  # of a recipe; they make no difference between runs of a method


def resolve_run(text: str, say: Callable[[str], None] | None = None) -> Path:
    """The directory of the run that ``text`` names: a path, a run name, or any part of one.

    Where several runs of one method fit, it is the finished one of the recipe as it is now, of the lowest seed; runs
    with an added class count only if no others are finished. ``NAME@latest`` is the one that finished last.

    Args:
        say: told in one line which run was taken, where ``text`` fits several.

    Raises:
        UsageProblem: no run fits, or several do and none is the obvious one (they are named with their differences).
    """
    path = Path(text).expanduser()
    if (path / "recipe.toml").is_file():
        return path
    fitting = fitting_runs(text.removesuffix(LATEST))
    if len(fitting) == 1:
        return fitting[0].path
    finished = [run for run in fitting if result_of(run) is not None]
    if text.endswith(LATEST):
        if not finished:
            raise UsageProblem(
                f"'{text}': none of the {len(fitting)} runs is finished: {some([r.name for r in fitting])}"
            )
        chosen, why = max(finished, key=Run.changed), "the one that finished last"
    elif len({(run.dataset, run.method) for run in fitting}) == 1 and (taken := _obvious(finished)):
        chosen, why = taken
    else:
        raise _ambiguous(text, fitting, f", or '{text}{LATEST}'" if finished else "")
    if say is not None:
        say(f"'{text}' fits {len(fitting)} runs; this is {chosen.name}, {why}")
    return chosen.path


def only_run(text: str) -> Run:
    """The one run that ``text`` names, by its folder, its name or a part of it, or as ``NAME@latest``.

    Raises:
        UsageProblem: no run fits, or several do, whichever they are.
    """
    path = Path(text).expanduser()
    run = run_from_path(path.resolve()) if (path / "recipe.toml").is_file() else None
    if run is not None and run.path.is_dir():
        return run
    fitting = fitting_runs(text.removesuffix(LATEST))
    finished = [run for run in fitting if result_of(run) is not None]
    if text.endswith(LATEST) and finished:
        return max(finished, key=Run.changed)
    if len(fitting) > 1:
        raise _ambiguous(text, fitting)
    return fitting[0]


def fitting_runs(text: str) -> list[Run]:
    """The runs that have the name ``text``, or whose names have it as a part; whole words go before parts of words.

    Raises:
        UsageProblem: there is none.
    """
    runs, name = find_runs(), text.strip("/")
    if not name:
        raise UsageProblem("the name of a run is empty; see: oltr ls runs")
    exact = [run for run in runs if run.name == name]
    whole = [run for run in runs if f"/{name}/" in f"/{run.name}/"]  # dme/ before dme+energy/
    fitting = exact or whole or [run for run in runs if text in run.name]
    if not fitting:
        raise UsageProblem(_none_fits(text, name, runs))
    return fitting


def result_of(run: Run) -> RunResult | None:
    """The result of a finished run; None where it is not finished or its result.json is damaged."""
    try:
        return run.result()
    except DataProblem:
        return None


def parent_of(run: Run) -> Run | None:
    """The run that ``run`` starts from or, of a detector, stands on; None where it is not known."""
    result = result_of(run)
    environment = read_json(run.path / "environment.json") if result is None else None
    name = result.starts_from if result else environment.get("starts_from") if isinstance(environment, dict) else None
    return run_from_path(run.root / name) if isinstance(name, str) else None


def trains_backbone(run: Run) -> bool | None:
    """Whether a run of a method trained its backbone, or kept that of its first weights; None if it is not known."""
    try:
        if described(run.method).on_features:
            return False
    except OltrError:  # the method was added, and its file is not given
        return None
    train = recorded_recipe(run.path).get("train")
    return None if train is None else not train.get("freeze_backbone")


def differences(runs: Sequence[Run]) -> dict[Run, dict[str, Any]]:
    """For each run of a method the settings, by dotted key, in which not all of them agree.

    Those of a run that it starts from have that method's name before them, as ``--set`` takes them.
    """
    settings = {run: _settings(run) for run in runs}
    # First what says most; of long lists only the beginning is shown.
    keys = dict.fromkeys(("train.from_scratch", *(key for one in settings.values() for key in one)))
    differing = [key for key in keys if len({repr(one.get(key)) for one in settings.values()}) > 1]
    return {run: {key: one.get(key) for key in differing} for run, one in settings.items()}


def in_words(differing: dict[str, Any]) -> str:
    """``train.epochs=6, params.lambda=0.1``: the first three, and how many there are."""
    return some([f"{key}={_short(value)}" for key, value in differing.items()])


def when(run: Run) -> str:
    """The local time at which it finished or, of an unfinished run, was last written to."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.changed()))


def _ambiguous(text: str, runs: Sequence[Run], or_else: str = "") -> UsageProblem:
    what = f"'{text}' fits {len(runs)} runs; name one of them{or_else}"
    return UsageProblem("\n".join([what, *_described(runs)]))


def _obvious(finished: Sequence[Run]) -> tuple[Run, str] | None:
    """The run that is meant among finished ones of one method, and why; None where that cannot be told."""
    if len(finished) == 1:
        return finished[0], "the only finished one"
    # add-class promises that the name means the run of before, whatever recipe that was trained by.
    before = [run for run in finished if "added.name" not in _recipe(run)]
    if len(before) == 1:
        return before[0], "the only finished one without an added class"
    finished = before or finished
    why = "the lowest seed"
    if len({run.hash for run in finished}) > 1:
        why = "of the recipe as it is now"
        try:
            now = plan(finished[0].method, finished[0].dataset, [], seed=0)[-1]
        except OltrError:
            return None
        exact = [run for run in finished if run.hash == now.run.hash]
        if not exact:  # from an earlier run, by oltr run --from
            settings = _own_settings(flatten(now.link.recipe.as_toml()))
            continued = [run for run in finished if _own_settings(_recipe(run)) == settings]
            return (max(continued, key=Run.changed), why) if continued else None
        finished = exact
        if len(finished) > 1:
            why += " and the lowest seed"
    return (min(finished, key=lambda run: run.seed), why) if finished else None


def _described(runs: Sequence[Run], shown: int = 8) -> list[str]:
    """A line for each run, the newest first: name, status, time, and what sets it apart from others of its method."""
    differing: dict[Run, str] = {}
    for method in {(run.dataset, run.method) for run in runs}:
        of_it = [run for run in runs if (run.dataset, run.method) == method]
        differing |= {run: in_words(differs) for run, differs in differences(of_it).items()}
    width = max(len(run.name) for run in runs)
    newest = sorted(runs, key=Run.changed, reverse=True)
    lines = [f"  {run.name:<{width}}  {run.status()} {when(run)}  {differing[run]}".rstrip() for run in newest[:shown]]
    return lines + ([f"  … and {len(runs) - shown} older; see: oltr ls runs"] if len(runs) > shown else [])


def _none_fits(text: str, name: str, runs: Sequence[Run]) -> str:
    """No run fits: the command that makes it where ``name`` is a method's, else the nearest name."""
    dataset, _, method = name.rpartition("/")
    methods = list_methods()
    base, _, detector = method.partition(PLUS)
    if base in methods and detector in ("", *methods) and dataset in ("", *known_recipes()):
        option = f" --dataset {shlex.quote(dataset)}" if dataset else ""
        on_top = f" --detector {detector}" if detector else ""
        return f"no run '{text}' yet; make it: oltr run {base}{on_top}{option}{given_files()}"
    if not runs:
        return f"no run '{text}'; {runs_root()} holds no runs yet: oltr run dme"
    hint = nearest(text, [run.name for run in runs])
    return f"no run '{text}'{hint if hint.startswith('; did') else '; see: oltr ls runs'}"


def _settings(run: Run) -> dict[str, Any]:
    """Its resolved recipe by dotted key; then what trained the runs that it starts from."""
    settings = _own_settings(_recipe(run))
    above, seen = run, {run}
    while (parent := parent_of(above)) is not None and parent not in seen:
        if above.method == parent.method:
            settings.setdefault("--from", parent.name)
        if above.method.partition(PLUS)[0] != parent.method:  # a detector has the recipe of the run under it
            trained = {k: v for k, v in _recipe(parent).items() if k.startswith(("train.", "params."))}
            settings |= {f"{parent.method}.{key}": value for key, value in trained.items()}
        above = parent
        seen.add(parent)
    return settings


def _own_settings(recipe: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key not in _ELSEWHERE}


def _recipe(run: Run) -> dict[str, Any]:
    try:
        return flatten(read_toml(run.path / "recipe.toml"))
    except OltrError:  # the run is gone, or the file is damaged
        return {}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:8]}…"
