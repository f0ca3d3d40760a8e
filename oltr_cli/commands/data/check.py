"""``oltr data check``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oltr_cli.commands.data.dataset import Lists, Name, Root, named_dataset, numbers, same_dataset, span
from oltr_cli.commands.options import Json, Quiet
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from rich.console import Console

    from oltr_cli.data.inspect.check import Checked

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
_MARKS = {"error": "[red]✗[/]", "warning": "[yellow]![/]", "": "[green]✓[/]"}


def check(
    name: Name,
    root: Root = None,
    lists: Lists = None,
    decode: Annotated[bool, typer.Option("--decode", help="Decode every image; implies --content")] = False,
    content: Annotated[bool, typer.Option("--content", help="Find files with the same content")] = False,
    contact_sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Picture of nearly identical images in two splits or under two labels; implies --decode",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Number of processes that read files; default one per core")
    ] = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Check a dataset before training: counts, labels, files, duplicates. All problems are reported at once.

    Nothing is changed. The exit code is 3 if there is an error, 0 if there are only warnings.

    ```
    oltr data check tiny-imagenet-lt
    oltr data check tiny-imagenet-lt --decode           decode all images, and find copies under other names
    oltr data check mine --contact-sheet near.png       also draw nearly identical images of two splits or two classes
    oltr data check places-lt --lists downloads/Places_LT --root /data/places365
    oltr data check mine.toml --json
    ```
    """
    from rich.markup import escape

    from oltr_cli.base.display import Display, SafeConsole
    from oltr_cli.base.machine import cores
    from oltr_cli.data.inspect.check import check_dataset
    from oltr_cli.errors import UsageProblem

    display = Display(quiet)
    spec, images, where = named_dataset(name, root, lists)
    processes = cores() if workers is None else workers
    if contact_sheet is not None and contact_sheet.suffix.lower() != ".png":
        raise UsageProblem(f"--contact-sheet {contact_sheet}: write a name that ends in .png")
    sheet = contact_sheet.expanduser() if contact_sheet else None
    pixels = decode or sheet is not None
    checked = check_dataset(
        spec, images, where, display, content=content, pixels=pixels, workers=processes, sheet=sheet
    )
    if json_:
        print_json(_facts(checked))
    else:
        _print(checked, SafeConsole(), pixels)
    if sheet is not None:
        none = "no nearly identical images in two splits or under two labels, so no picture"
        display.say(f"wrote {escape(str(sheet))}" if checked.sheet else none)
    display.say(f"[dim]next[/]  {_next(checked, name, same_dataset(name, root, lists))}")
    if checked.count("error"):
        raise typer.Exit(3)


def _next(checked: "Checked", name: str, again: str) -> str:
    from rich.markup import escape

    from oltr_cli.commands.data.prepare import prepare_app

    if not checked.count("error"):
        return escape(f"oltr data info {again}")
    preparers = {command.name for command in prepare_app.registered_commands}
    if any(finding.kind in ("no_folder", "no_lists", "no_list") for finding in checked.findings) and name in preparers:
        return f"oltr data prepare {name} --help"
    return escape(f"fix the errors above, then: oltr data check {again}")


def _facts(checked: "Checked") -> dict[str, Any]:
    from dataclasses import asdict

    facts = asdict(checked)
    counts = {severity + "s": checked.count(severity) for severity in _STYLES}
    return {"dataset": facts.pop("name"), "ok": not checked.count("error"), **counts, **facts}


def _print(checked: "Checked", console: "Console", decode: bool) -> None:
    """The counts as a table, then a line a finding."""
    from rich.text import Text

    from oltr_cli.base.text import counted

    published = checked.published
    title = f"[bold]{checked.name}[/]"
    if checked.root:
        title += f"  [dim]images in[/] {checked.root}"
        title += f"  [dim]lists in[/] {checked.lists}" if checked.lists != checked.root else ""
    console.print(title, soft_wrap=True)
    columns = ["images", *(["published"] if published else []), "classes", "missing", "unreadable"]
    table = numbers("split", *columns)
    table.add_column("")
    for split, facts in checked.splits.items():
        cells = [getattr(facts, column) for column in columns]
        shown = ["–" if cell is None else f"{cell:,}" for cell in cells]
        table.add_row(split, *shown, _MARKS[checked.worst(split)])
    if checked.splits:
        console.print(table)
    if checked.per_class:
        images = "image" if checked.per_class[1] == 1 else "images"
        each = f"{counted(checked.classes, 'class')}, {span(*checked.per_class)} training {images} each"
        console.print(f"\n{each}{_shots(checked)}", soft_wrap=True)
    if checked.findings:
        console.print()
    splits = max((len(", ".join(finding.splits)) for finding in checked.findings), default=0)
    for finding in checked.findings:
        line = Text(f"{finding.severity:<8}", _STYLES[finding.severity])
        line.append(f"{', '.join(finding.splits):<{splits}}  " if splits else "", "bold")
        console.print(line.append(finding.message, "dim" if finding.severity == "note" else ""), soft_wrap=True)
    console.print()
    console.print(_verdict(checked))
    if checked.root and not decode and not checked.count("error"):
        console.print("[dim]pixels were not read; --decode finds damaged files and near-identical images")


def _shots(checked: "Checked") -> str:
    found = " / ".join(map(str, checked.shots.values()))
    shots = checked.published.shots if checked.published else None
    same = " [dim]as published[/]" if shots == tuple(checked.shots.values()) else ""
    return f"; many-, medium- and few-shot: {found}{same}"


def _verdict(checked: "Checked") -> str:
    parts = [
        f"{count} {severity}{'s' if count > 1 else ''}"
        for severity in ("error", "warning")
        if (count := checked.count(severity))
    ]
    if checked.count("error"):
        return f"[red]✗[/] {', '.join(parts)}"
    return f"[green]✓[/] no errors{f'; {parts[0]}' if parts else ''}"
