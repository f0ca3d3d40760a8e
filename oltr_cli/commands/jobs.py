"""``oltr jobs``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from oltr_cli.commands.options import Json
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from oltr_cli.launching.records import Record
    from oltr_cli.launching.states import State


def jobs(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[cancel RUN|all]", help="Without words, list; cancel: a run's name, a part of it, or all"
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """List the jobs of --launcher, the latest of each run, with their logs; or cancel some.

    A cancelled job saves a checkpoint. The command that started the jobs starts those again that are missing.

    ```
    oltr jobs
    oltr jobs cancel all
    oltr jobs cancel glyphs-lt/dme
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.errors import UsageProblem
    from oltr_cli.launching.records import read_records
    from oltr_cli.launching.states import states_of

    words = words or []
    if words and (words[0] != "cancel" or len(words) != 2):
        raise UsageProblem("write oltr jobs, oltr jobs cancel RUN or oltr jobs cancel all")
    records = read_records(Display().warn)
    states = states_of(records)
    if words:
        records = _cancel(words[1], records, states)
    listed = [_facts(one, states[one.name]) for one in records]
    if json_:
        print_json({"cancelled" if words else "jobs": listed})
    elif words:
        if not listed:
            print("no job waits or runs")
        for one in listed:
            print(f"cancelled {one['run']}, job {one['job']}")
    else:
        _show(listed)


def _facts(record: "Record", state: "State") -> dict[str, Any]:
    return {
        "state": state.word,
        "run": record.name,
        "for": record.label,
        "launcher": record.launcher,
        "job": record.id,
        "node": state.node,
        "reason": state.reason,
        "log": str(record.log),
        "command": record.command,
        "submitted": record.submitted,
    }


def _cancel(text: str, records: "list[Record]", states: "dict[str, State]") -> "list[Record]":
    """Cancel the jobs that ``text`` names and that have not ended; returns them."""
    from oltr_cli.errors import UsageProblem, nearest
    from oltr_cli.launching.local_job import cancel_local
    from oltr_cli.launching.settings import LOCAL
    from oltr_cli.launching.slurm import cancel_slurm

    active = [one for one in records if states[one.name].active]
    chosen = active if text == "all" else [one for one in active if text in one.name]
    if not chosen and text != "all":
        known = {one.name for one in active}
        raise UsageProblem(f"no job of '{text}' waits or runs{nearest(text, known) if known else ''}")
    cancel_local(one for one in chosen if one.launcher == LOCAL)
    cancel_slurm(one for one in chosen if one.launcher != LOCAL)
    return chosen


def _show(listed: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from oltr_cli.base.display import SafeConsole

    if not listed:
        print("no jobs; start some with --launcher, for example: oltr compare --run --launcher local:2")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("state", "run", "job", "node", "log"):
        table.add_column(name, no_wrap=True)
    for one in listed:
        state, reason = one["state"], one["reason"]  # the reason may begin with the state, "stopped with a checkpoint"
        word = reason if reason.startswith(state) else f"{state}: {reason}" if reason else state
        table.add_row(word, one["run"], one["job"], one["node"] or "–", one["log"])
    console = SafeConsole()
    table.width = SafeConsole(width=10_000).measure(table).maximum  # names and paths are copied
    console.print(table, crop=False, soft_wrap=True)
