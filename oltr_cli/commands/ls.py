"""``oltr ls`` and ``oltr cp``: list what is available, and copy a recipe to start from."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oltr_cli.commands import complete
from oltr_cli.commands.options import Json, MethodsFrom
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

    from oltr_cli.runs.folder import Run

KINDS = ("methods", "backbones", "datasets", "tables", "runs", "studies")
RUN_METRICS = ("closed/overall", "closed/few", "open/f_measure")


def ls(
    kind: Annotated[
        str | None, typer.Argument(help="methods, backbones, datasets, tables, runs or studies; default all of them")
    ] = None,
    json_: Json = False,
    methods_from: MethodsFrom = None,
) -> None:
    """List methods, backbones, datasets, the paper's tables, your runs, and studies of oltr tune.

    ```
    oltr ls methods
    oltr ls runs --json
    ```
    """
    from oltr_cli.errors import UsageProblem, nearest

    if kind is not None and kind not in KINDS:
        raise UsageProblem(f"cannot list '{kind}'{nearest(kind, KINDS)}")
    listed = {k: _list(k) for k in ([kind] if kind else KINDS)}
    if json_:
        print_json(listed)
        return
    from oltr_cli.base.display import SafeConsole

    console = SafeConsole()
    for number, (name, rows) in enumerate(listed.items()):
        if number:
            console.print()
        if name == "methods":
            console.print(_methods(rows))
        else:
            print_table(console, as_table(name, rows))


def cp(
    recipe: Annotated[str, typer.Argument(autocompletion=complete.datasets, help="Built-in recipe or file to copy")],
    file: Annotated[Path, typer.Argument(help="New recipe file, ending in .toml")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE")] = False,
) -> None:
    """Copy a recipe to a new file, to edit it.

    ```
    oltr cp tiny-imagenet-lt mine.toml
    oltr run dme --recipe mine.toml
    ```
    """
    from rich.markup import escape

    from oltr_cli.base.display import Display
    from oltr_cli.base.files import write_text
    from oltr_cli.errors import UsageProblem
    from oltr_cli.recipe.files import find_recipe

    if file.suffix != ".toml":
        raise UsageProblem(f"{file}: a recipe file ends in .toml")
    if file.exists() and not force:
        raise UsageProblem(f"{file} exists; --force overwrites it")
    write_text(file, find_recipe(recipe).read_text(encoding="utf-8"))
    print(file)
    Display().say(f"[dim]next[/]  oltr run dme --recipe {escape(shlex.quote(str(file)))}")


def _list(kind: str) -> list[dict[str, Any]]:
    if kind == "methods":
        from oltr_cli.planning.registry import BROKEN, list_methods

        measured = _measured()
        rows = [
            {
                "name": info.name,
                "kind": info.kind,
                "family": info.family,
                "starts_from": info.starts_from,
                "measured": measured.get(info.name, {}),
                "source": info.source,
                "summary": info.summary,
                "origin": info.origin,
            }
            for info in list_methods().values()
        ]
        for row in rows:
            if row["origin"] != "built-in" and (wrong := _wrong(str(row["name"]), str(row["kind"]))):
                row |= {"family": BROKEN, "summary": wrong}
        return sorted(rows, key=lambda row: (row["kind"] != "method", row["family"], row["name"]))
    if kind == "backbones":
        from oltr_cli.recipe.backbones import BACKBONES

        backbones: list[dict[str, Any]] = []
        for name, one in BACKBONES.find().items():
            wrong = _wrong(name, kind) if one.origin != "built-in" else None
            about = {"source": one.facts.get("source", ""), "summary": wrong or one.summary, "origin": one.origin}
            backbones.append({"name": name, **about, "broken": wrong is not None})
        return backbones
    if kind == "datasets":
        from oltr_cli.recipe.files import first_comment, known_recipes

        return [{"name": name, "summary": first_comment(path)} for name, path in sorted(known_recipes().items())]
    if kind == "tables":
        from oltr_cli.tables.paper import list_tables

        return [{"name": name, "caption": caption} for name, caption in list_tables().items()]
    if kind == "studies":
        from oltr_cli.runs.folder import find_studies

        return [_study_facts(name, path) for name, path in find_studies().items()]
    return _runs()


def _wrong(name: str, kind: str) -> str | None:
    """Why what is added cannot be used; its text alone does not tell, so it is imported, with torch."""
    from oltr_cli.errors import OltrError
    from oltr_cli.planning.registry import load_detector, load_method

    try:
        if kind == "backbones":
            from oltr_cli.networks.backbones import load_backbone
            from oltr_cli.recipe.specs import BackboneSpec

            load_backbone(BackboneSpec(name=name))
        else:
            (load_detector if kind == "detector" else load_method)(name)
    except OltrError as problem:
        return str(problem)
    return None


def _measured() -> dict[str, dict[str, int]]:
    """Method or detector → dataset → how many of its runs here are finished."""
    from oltr_cli.runs.folder import finished_runs

    counts: dict[str, dict[str, int]] = {}
    for method, runs in finished_runs().items():
        # A method with a detector counts for the detector; the method itself has a separate run.
        by_dataset = counts.setdefault(method.rpartition("+")[2], {})
        for run, _ in runs:
            by_dataset[run.dataset] = by_dataset.get(run.dataset, 0) + 1
    return counts


def _runs() -> list[dict[str, Any]]:
    """All runs; ``differs``: the settings in which the runs of a method do not agree."""
    from itertools import groupby

    from oltr_cli.planning.which_run import differences
    from oltr_cli.runs.folder import find_runs

    rows = []
    for _, group in groupby(find_runs(), key=lambda run: (run.dataset, run.method)):
        rows += [_run_facts(run, differs) for run, differs in differences(list(group)).items()]
    return rows


def _run_facts(run: "Run", differs: dict[str, Any]) -> dict[str, Any]:
    from oltr_cli.planning.which_run import result_of, when

    result = result_of(run)  # none where it is damaged: its status says so
    return {
        "name": run.name,
        "status": run.status(),
        "date": when(run),
        "epochs": result.epochs if result else None,
        **{name: result.metrics.get(name) if result else None for name in RUN_METRICS},
        "differs": differs,
    }


def _study_facts(name: str, path: Path) -> dict[str, Any]:
    """What is known without reading its journal: best.toml has the best trial as of the last oltr tune show."""
    from oltr_cli.recipe.files import first_comment

    best = path / "best.toml"
    words = first_comment(best).partition(": ")[2].partition(" on validation")[0] if best.is_file() else None
    return {"name": name, "trials": sum(1 for _ in (path / "trials").iterdir()), "best": words}


def _methods(rows: list[dict[str, Any]]) -> "Group":
    """Methods, grouped under the names of their families."""
    from itertools import groupby

    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    names = max(len(row["name"]) for row in rows)
    parts: list[Any] = []
    for family, members in groupby(rows, key=lambda row: row["family"]):
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(width=names, no_wrap=True, style="bold" if family != "broken" else "red")
        table.add_column(overflow="fold")
        for row in members:
            about = Text(row["summary"])
            start = f"starts from {row['starts_from']}" if row["starts_from"] else ""
            if row["kind"] == "detector":
                start = f"the paper's on {row['starts_from']}" if row["starts_from"] else ""
            here = ", ".join(f"{name} ×{count}" for name, count in sorted(row["measured"].items()))
            facts = (row["source"], start, f"measured on {here}" if here else "not measured here")
            about.append("\n" + " · ".join(filter(None, facts)), "dim")
            table.add_row(row["name"], about)
        parts += [Text(family, style="italic cyan"), table, Text()]
    return Group(*parts[:-1])


def as_table(kind: str, rows: list[dict[str, Any]]) -> "Table | Text":
    from rich.table import Table
    from rich.text import Text

    if not rows:
        begin = "oltr tune lambda" if kind == "studies" else "oltr run dme"
        return Text(f"no {kind} yet: {begin}", "italic")
    table = Table(title=kind, title_justify="left", box=None, pad_edge=False, header_style="dim")
    # The day is enough to tell runs apart at a glance; --json has the time.
    rows = [row | {"date": row["date"][:10]} if "date" in row else row for row in rows]
    shown = [c for c in rows[0] if c != "broken" and (c != "differs" or any(row[c] for row in rows))]
    for place, column in enumerate(shown):
        # Names are meant to be copied: two-line headings leave room for them, and only sentences are folded.
        whole = place == 0 or not any(" " in _cell(row[column]) for row in rows)
        head = column.replace("_", "-").replace("/", "\n")
        table.add_column(head, overflow="fold", no_wrap=whole, min_width=None if whole else 16)
    for row in rows:
        bad = row.get("broken") or row.get("status") in ("failed", "damaged")
        table.add_row(*(_cell(row[column]) for column in shown), style="red" if bad else "")
    return table


def print_table(console: "Console", table: "Table | Text") -> None:
    """Print it wider than the console if a name would be cut otherwise."""
    from rich.measure import Measurement

    least = Measurement.get(console, console.options.update(max_width=1000), table).minimum
    console.width = max(width := console.width, least)
    console.print(table)
    console.width = width


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, dict):
        from oltr_cli.planning.which_run import in_words

        return in_words(value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)
