"""Which of a method's finished runs a row shows if there are some of several recipes or builds."""

from collections.abc import Sequence
from typing import Any

from oltr_cli.errors import OltrError
from oltr_cli.planning.described import described
from oltr_cli.planning.registry import PLUS
from oltr_cli.planning.resolve import flatten, parse_set
from oltr_cli.planning.source import lists_of
from oltr_cli.recipe.files import recorded_recipe
from oltr_cli.runs.folder import Run
from oltr_cli.runs.result import RESULT, RunResult

Pairs = list[tuple[Run, RunResult]]


def on_its_lists(finished: dict[str, Pairs], source: str | None) -> tuple[dict[str, Pairs], list[Run]]:
    """Method → the runs on the lists of the recipe ``source``, and the runs on other lists; see ``lists_of``."""
    digest = lists_of(source)
    if digest is None:
        return finished, []
    kept = {method: [p for p in pairs if p[1].data_digest == digest] for method, pairs in finished.items()}
    others = [run for pairs in finished.values() for run, result in pairs if result.data_digest != digest]
    return {method: pairs for method, pairs in kept.items() if pairs}, others


def choose_recipe(key: str, runs: Pairs, wanted: str | None) -> tuple[Pairs, str]:
    """The runs of one recipe, by seed, and a note ("": none) if it is not the wanted one or others are left out.

    Without runs of the wanted recipe, those nearest to the method's own parameters are shown; of these the recipe with
    most seeds; of these the newest. Runs that a class was added to are shown only where there are no others.

    Args:
        wanted: hash of the current recipe; None: there is no recipe.
    """
    by_hash: dict[str, Pairs] = {}
    for run, result in [pair for pair in runs if pair[1].added_class is None] or runs:
        by_hash.setdefault(run.hash, []).append((run, result))
    if wanted in by_hash:
        chosen, why = wanted, "the current recipe"
    elif len(by_hash) == 1:
        (chosen,), why = by_hash, ""
    else:
        chosen, why = _stand_in(by_hash)
    others = sorted(h for h in by_hash if h != chosen)
    left_out = f" Left out: {', '.join(others)}." if others else ""
    note = ""
    if wanted is not None and chosen != wanted:
        note = f"{key}: no finished run of the current recipe ({wanted}); {chosen} is shown.{left_out}"
    elif others:
        note = f"{key}: {chosen} is shown, {why}.{left_out}"
    assert chosen is not None
    return sorted(by_hash[chosen], key=lambda pair: pair[0].seed), note


def _stand_in(by_hash: dict[str, Pairs]) -> tuple[str, str]:
    """The hash to show for the method, and why it was chosen."""
    differing = _differing({h: pairs[0][0] for h, pairs in by_hash.items()})
    seeds = {h: len(pairs) for h, pairs in by_hash.items()}
    newest = {h: max((run.path / RESULT).stat().st_mtime for run, _ in pairs) for h, pairs in by_hash.items()}
    chosen = min(by_hash, key=lambda h: (differing[h], -seeds[h], -newest[h], h))
    near = [h for h in by_hash if differing[h] == differing[chosen]]
    if len(near) == 1:
        return chosen, "the one closest to the method's own parameters"
    many = [h for h in near if seeds[h] == seeds[chosen]]
    return chosen, "the recipe with most finished seeds" if len(many) == 1 else "the newest"


def _differing(runs: dict[str, Run]) -> dict[str, int]:
    """How many parameters of each run differ from the method's defaults; 0 for all if the runs do not differ in it."""
    params = {h: _recorded_params(run) for h, run in runs.items()}
    nothing = dict.fromkeys(runs, 0)
    if all(one == next(iter(params.values())) for one in params.values()):
        return nothing
    defaults = _own_params(next(iter(runs.values())).method)
    if defaults is None:
        return nothing
    return {h: sum(defaults.get(k) != one.get(k) for k in defaults.keys() | one.keys()) for h, one in params.items()}


def by_parameters(method: str, sets: Sequence[str], runs: Pairs) -> tuple[bool, set[str]]:
    """What a row with ``--set`` assignments shows without a recipe, which has no hash to find its runs by.

    Returns:
        whether the assignments give the method the values of its own defaults; and the hashes of those ``runs`` whose
        recorded parameters are the defaults with these assignments.
    """
    defaults, assigned = _own_params(method), dict(map(parse_set, sets))
    if defaults is None or not all(key.startswith("params.") for key in assigned):
        return False, set()
    wanted = {**defaults, **{key.removeprefix("params."): value for key, value in assigned.items()}}
    return wanted == defaults, {run.hash for run, _ in runs if _recorded_params(run) == wanted}


def _recorded_params(run: Run) -> dict[str, Any]:
    return flatten(recorded_recipe(run.path).get("params") or {})


def _own_params(method: str) -> dict[str, Any] | None:
    """The defaults of a method's parameters, or of the method under a detector; None if there is no such method."""
    try:
        own = described(method.partition(PLUS)[0]).Params()
    except OltrError:
        return None
    return flatten(own.model_dump(mode="json", by_alias=True, exclude_none=True))
