"""``oltr ls``, ``oltr show`` and ``oltr cp``: what there is, what it says, a copy to start from."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

KINDS = ("methods", "datasets", "tables", "runs")


def ls(
    kind: Annotated[str | None, typer.Argument(help="methods, datasets, tables or runs; default all")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object")] = False,
) -> None:
    """List methods, datasets, the paper's tables and runs.

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
        print(json.dumps(listed))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for number, (name, rows) in enumerate(listed.items()):
        if number:
            console.print()
        console.print(_as_table(name, rows))


def show(
    name: Annotated[str, typer.Argument(help="Recipe (built-in name or file), or method")],
    method: Annotated[str, typer.Option("--method", "-m", help="Method to resolve a recipe for")] = "dme",
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override; repeatable")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object")] = False,
) -> None:
    """Show a recipe as it resolves, with where each value came from; or a method with its parameters.

    ```
    oltr show glyphs-lt
    oltr show imagenet-lt --method plain --set train.epochs=90
    oltr show dme
    ```
    """
    from oltr_cli.registry import list_methods, method_chain

    if name in list_methods():
        _show_method(name, json_)
        return
    from oltr_cli.recipe import flatten, resolve_chain
    from oltr_cli.recipe_files import find_recipe

    path = find_recipe(name)
    links = resolve_chain(path, method_chain(method), sets or [])
    if json_:
        print(json.dumps({"file": str(path), "runs": [_link_facts(link) for link in links]}))
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"[dim]{path}[/]")
    for link in links:
        console.print(f"\n[bold]{link.recipe.method}[/] [dim]hash {link.hash}[/]")
        for key, value in flatten(link.recipe.as_toml()).items():
            if key != "method" and not (key.startswith("data.glyphs.") and link.recipe.data.kind != "glyphs"):
                source = link.origin.get(key, "default")
                style = "dim" if source == "default" else ""
                console.print(f"  {key:<30} {value!s:<28} {source}", style=style, soft_wrap=True, markup=False)


def cp(
    recipe: Annotated[str, typer.Argument(help="Built-in recipe or file to copy")],
    file: Annotated[Path, typer.Argument(help="New recipe file, ending in .toml")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE")] = False,
) -> None:
    """Copy a recipe to a file of your own.

    ```
    oltr cp tiny-imagenet-lt mine.toml
    oltr run dme --recipe mine.toml
    ```
    """
    from oltr_cli.errors import UsageProblem
    from oltr_cli.files import write_text
    from oltr_cli.progress import Display
    from oltr_cli.recipe_files import find_recipe

    if file.suffix != ".toml":
        raise UsageProblem(f"{file}: a recipe file ends in .toml")
    if file.exists() and not force:
        raise UsageProblem(f"{file} exists; --force overwrites it")
    write_text(file, find_recipe(recipe).read_text(encoding="utf-8"))
    print(file)
    Display().say(f"[dim]next[/]  oltr run dme --recipe {file}")


def _list(kind: str) -> list[dict[str, Any]]:
    if kind == "methods":
        from oltr_cli.registry import list_methods

        return [
            {k: v for k, v in vars(info).items() if k in ("name", "family", "starts_from", "source", "summary")}
            for info in list_methods().values()
        ]
    if kind == "datasets":
        from oltr_cli.recipe_files import builtin_recipes, first_comment

        return [{"name": name, "summary": first_comment(path)} for name, path in builtin_recipes().items()]
    if kind == "tables":
        from oltr_cli.tables.paper import list_tables

        return [{"name": name, "caption": caption} for name, caption in list_tables().items()]
    return [_run_facts(run) for run in _runs()]


def _runs() -> list:
    from oltr_cli.runs import find_runs

    return find_runs()


def _run_facts(run: Any) -> dict[str, Any]:
    result = run.result() or {}
    metrics = result.get("metrics", {})
    return {
        "name": run.name,
        "status": run.status(),
        "epochs": result.get("epochs"),
        "closed/overall": metrics.get("closed/overall"),
        "closed/few": metrics.get("closed/few"),
        "open/f_measure": metrics.get("open/f_measure"),
    }


def _as_table(kind: str, rows: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    if not rows:
        return Table(title=f"no {kind} yet: oltr run dme", title_justify="left", box=None)
    table = Table(title=kind, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for column in rows[0]:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()), style="" if row.get("status") != "failed" else "red")
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _link_facts(link: Any) -> dict[str, Any]:
    return {"method": link.recipe.method, "hash": link.hash, "recipe": link.recipe.as_toml(), "origin": link.origin}


def _show_method(name: str, as_json: bool) -> None:
    import inspect
    import sys

    from oltr_cli.registry import list_methods, load_method

    info, cls = list_methods()[name], load_method(name)
    params = [
        {
            "key": f"params.{f.alias}",
            "default": f.default,
            "type": _type_name(f.annotation),
            "about": f.description or "",
        }
        for f in cls.Params.model_fields.values()
    ]
    about = inspect.getdoc(sys.modules[cls.__module__]) or info.summary
    if as_json:
        print(json.dumps({"name": name, "starts_from": cls.starts_from, "about": about, "params": params}))
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(
        f"[bold]{name}[/]  [dim]{info.family} · {info.source} · starts from {cls.starts_from or 'nothing'}[/]\n"
    )
    console.print(about + "\n", markup=False)
    if params:
        console.print(_as_table("parameters", params))


def _type_name(annotation: Any) -> str:
    from typing import Literal, get_args, get_origin

    if get_origin(annotation) is Literal:
        return " | ".join(map(str, get_args(annotation)))
    return getattr(annotation, "__name__", str(annotation))
