"""``oltr show``: a resolved recipe, or facts about a method, a detector or a backbone."""

from typing import Annotated, Any

import typer

from oltr_cli.commands import complete
from oltr_cli.commands.options import Json, MethodsFrom
from oltr_cli.commands.printing import print_json


def show(
    name: Annotated[
        str,
        typer.Argument(
            autocompletion=complete.shown, help="Recipe (built-in name or file), method, detector or backbone"
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            "--method", "-m", autocompletion=complete.methods, help="Method to resolve a recipe for, or METHOD+DETECTOR"
        ),
    ] = "dme",
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override; repeatable")] = None,
    json_: Json = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Show a resolved recipe with the origin of each value, a method's equation, parameters and paper figures, or a
    backbone's keys and number of parameters.

    ```
    oltr show glyphs-lt
    oltr show imagenet-lt --method plain --set train.epochs=90
    oltr show dme
    oltr show resnet10
    ```
    """
    from rich.markup import escape

    from oltr_cli.planning.registry import list_methods
    from oltr_cli.recipe.backbones import BACKBONES

    if name in list_methods():
        _show_method(name, json_)
        return
    if BACKBONES.named(name):
        _show_backbone(name, json_)
        return
    from oltr_cli.planning.plan import plan
    from oltr_cli.planning.resolve import flatten
    from oltr_cli.recipe.files import find_recipe

    path = find_recipe(name)
    links = [p.link for p in plan(method, name, sets or [], seed=0)]
    if json_:
        print_json({"file": path, "runs": [_link_facts(link) for link in links]})
        return
    from oltr_cli.base.display import SafeConsole

    console = SafeConsole()
    console.print(f"[dim]{escape(str(path))}[/]")
    for link in links:
        console.print(f"\n[bold]{link.recipe.method}[/] [dim]hash {link.hash}[/]")
        for key, value in flatten(link.recipe.as_toml()).items():
            if key != "method" and not (key.startswith("data.glyphs.") and link.recipe.data.kind != "glyphs"):
                source = link.origin.get(key, "default")
                style = "dim" if source == "default" else ""
                console.print(f"  {key:<30} {value!s:<28} {source}", style=style, soft_wrap=True, markup=False)


def _link_facts(link: Any) -> dict[str, Any]:
    return {"method": link.recipe.method, "hash": link.hash, "recipe": link.recipe.as_toml(), "origin": link.origin}


def _show_method(name: str, as_json: bool) -> None:
    from oltr_cli.base.added_files import given_files
    from oltr_cli.base.plugins import module_docstring
    from oltr_cli.planning.described import described
    from oltr_cli.planning.registry import list_methods

    info = list_methods()[name]
    cls = described(name, detector=info.kind == "detector")
    section = "detector" if info.kind == "detector" else "params"
    params = [
        {
            "key": f"{section}.{f.alias}",
            "default": None if f.is_required() else f.default,
            "type": _type_name(f.annotation),
            "about": f.description or "",
        }
        for f in cls.Params.model_fields.values()
    ]
    about = module_docstring(info.module) or info.summary
    figures = _paper_figures(name)
    if as_json:
        facts = {"name": name, "kind": info.kind, "starts_from": cls.starts_from, "about": about}
        print_json({**facts, "params": params, "paper": figures})
        return
    from rich.markup import escape

    from oltr_cli.base.display import SafeConsole
    from oltr_cli.commands.ls import as_table, print_table

    console = SafeConsole()
    start = f"starts from {cls.starts_from or 'nothing'}"
    if cls.trains_from_scratch:
        start += " or, with --from-scratch, from nothing"
    if info.kind == "detector":
        start = f"on {cls.starts_from} in the paper" if cls.starts_from else "works on any method"
    console.print(f"[bold]{name}[/]  [dim]{' · '.join(filter(None, (info.family, info.source, start)))}[/]\n")
    console.print(about + "\n", markup=False)
    if params:
        print_table(console, as_table("parameters", _as_written(params)))
    for row in figures:
        shown = ", ".join(f"{column} {figure}" for column, figure in row["figures"].items())
        console.print(
            f"\n[bold]{row['table']}[/] [dim](quoted from {escape(row['source'])})[/] {row['row']}: {shown}",
            soft_wrap=True,
        )
    if info.kind == "detector":
        typer.echo(f"\nnext  oltr run dme --detector {name}{given_files()}", err=True)
    else:
        typer.echo(f"\nnext  oltr run {name}{given_files()}", err=True)


def _show_backbone(name: str, as_json: bool) -> None:
    import inspect
    import sys

    from oltr_cli.base.added_files import given_files
    from oltr_cli.networks.backbones import build_backbone
    from oltr_cli.recipe.backbones import OF_ALL
    from oltr_cli.recipe.specs import BackboneSpec

    network = build_backbone(BackboneSpec(name=name))
    cls = type(network)
    facts = {
        "name": name,
        "kind": "backbone",
        "source": cls.source,
        "about": inspect.getdoc(sys.modules[cls.__module__]) or "",
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "features": network.feature_dim,
        "torchvision": cls.torchvision.get(name),
    }
    keys = [
        {"key": f"backbone.{key}", "default": field.default, "type": _type_name(field.annotation), "about": about}
        for key, field in BackboneSpec.model_fields.items()
        if key in (*OF_ALL, *cls.keys) and key != "name" and (about := field.description)
    ]
    if as_json:
        print_json({**facts, "keys": keys})
        return
    from oltr_cli.base.display import SafeConsole
    from oltr_cli.commands.ls import as_table, print_table

    console = SafeConsole()
    console.print(f"[bold]{name}[/]  [dim]{' · '.join(filter(None, ('backbone', cls.source)))}[/]\n")
    console.print(f"{facts['about']}\n", markup=False)
    weights = "has" if facts["torchvision"] else "has no"
    console.print(
        f"{facts['parameters']:,} parameters and {facts['features']:,} features with the default keys; torchvision "
        f"{weights} weights for it\n",
        soft_wrap=True,
    )
    print_table(console, as_table("keys", _as_written(keys)))
    typer.echo(f"\nnext  oltr run dme --set backbone.name={name}{given_files()}", err=True)


def _paper_figures(name: str) -> list[dict[str, Any]]:
    """The method's rows in the tables of printed figures, only the cells with a figure."""
    from oltr_cli.planning.registry import list_methods
    from oltr_cli.tables.paper import DASH, list_tables, load_table

    info = list_methods()[name]
    names = {name, f"{info.starts_from}+{name}"} if info.kind == "detector" else {name}
    found = []
    for table in map(load_table, list_tables()):
        for row in table.rows:
            figures = {
                " ".join(part for part in (c.group, c.name) if part): figure
                for c, figure in zip(table.columns, row.figures, strict=True)
                if figure not in ("", DASH)
            }
            if row.method in names and figures:
                named = {"table": f"{table.label}, {table.dataset_title}", "row": row.label}
                found.append({**named, "source": row.source or "the paper", "figures": figures})
    return found


def _as_written(keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Defaults as one types them: with three decimals, 0.9999 would be shown as 1.000, and 0.0001 as 0.000."""
    return [key | {"default": str(key["default"])} if isinstance(key["default"], float) else key for key in keys]


def _type_name(annotation: Any) -> str:
    from types import NoneType, UnionType
    from typing import Literal, Union, get_args, get_origin

    origin = get_origin(annotation)
    if origin is Literal:
        return " | ".join(map(str, get_args(annotation)))
    if origin in (Union, UnionType):
        return " | ".join("unset" if part is NoneType else _type_name(part) for part in get_args(annotation))
    if hasattr(annotation, "__metadata__"):  # Annotated, as pydantic's StrictBool
        return _type_name(annotation.__origin__)
    return getattr(annotation, "__name__", str(annotation))
