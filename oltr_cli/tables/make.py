"""Making the runs that a table or a figure shows: if one fails, the others still run."""

from collections.abc import Iterable, Sequence

from oltr_cli.base.display import Display
from oltr_cli.errors import OltrError, Stopped, released, with_type
from oltr_cli.pipeline.make import run_method
from oltr_cli.tables.rows import RowSpec

Failures = list[tuple[str, OltrError]]  # "row, seed", and why


def make_rows(
    rows: Sequence[RowSpec], seeds: Iterable[int], recipe: str, option: str, device: str | None, display: Display
) -> Failures:
    """Find or make every run of ``rows`` × ``seeds``; failures are returned, and the rest still runs.

    Args:
        recipe, option: see ``Source``.
    Raises:
        Stopped: a signal came.
    """
    failures: Failures = []
    for seed in seeds:
        for number, row in enumerate(rows, start=1):
            display.say(f"[dim]row {number} of {len(rows)}:[/] {row.key}, seed {seed}")
            try:
                run_method(row.method, recipe, row.assignments(recipe), seed=seed, device=device, display=display)
            except Stopped:
                raise
            except OltrError as error:
                problem = error
            except (
                Exception
            ) as error:  # an error in a method's code, which may be an added one: the other rows still run
                problem = OltrError(f"{with_type(error)}; for the traceback: {row.command(recipe, option)}")
            else:
                continue
            display.warn(f"{row.key}, seed {seed}: {problem}")
            failures.append((f"{row.key}, seed {seed}", released(problem)))
    return failures


def warn_of(failures: Failures, display: Display) -> None:
    """Warn about rows that failed, those with the same reason in one line."""
    reasons: dict[str, list[str]] = {}
    for what, error in failures:
        reasons.setdefault(str(error), []).append(what)
    for reason, rows in reasons.items():
        display.warn(f"failed: {'; '.join(rows)}: {reason}")
