"""``oltr data store``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oltr_cli.commands import complete
from oltr_cli.commands.data.dataset import Lists, Root, named_dataset
from oltr_cli.commands.options import Json, Quiet
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from rich.table import Table

    from oltr_cli.data.store.features import FeaturesFolder
    from oltr_cli.data.store.folder import StoreFolder


def store(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME|ls|rm", help="Dataset whose images to store; ls or rm", autocompletion=complete.datasets
        ),
    ],
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="With rm: the dataset or store to remove", show_default=False)
    ] = "",
    side: Annotated[
        int | None,
        typer.Option(min=8, max=4096, help="Shorter side in pixels. Default: data.store_side of the recipe, or 256"),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Decoding processes. Default: all cores")] = None,
    root: Root = None,
    lists: Lists = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With rm: do not ask")] = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Decode the images of a dataset once, and keep their pixels for training.

    Larger images are shrunk to the given shorter side; smaller ones stay as they are. Runs whose recipe has this
    data.store_side read from the store, and build it first if it is not there. It is in $OLTR_CACHE (default: .store in
    $OLTR_DATA), shared by all recipes of the same folder of images. What was stopped goes on with the same command;
    when lists or files change, only the new images are decoded, and those again that could not be decoded. ls and rm
    are also for the features of frozen pre-trained backbones, which runs with train.freeze_backbone=true keep there.

    ```
    oltr data store mine --side 256                       decode all images of mine
    oltr run dme --dataset mine --set data.store_side=256 train from them
    oltr data store ls                                    what there is, features of backbones too, and its size
    oltr data store rm mine                               free the disk
    ```
    """
    from oltr_cli.errors import UsageProblem

    if what == "ls":
        if name:
            raise UsageProblem(f"oltr data store ls {name}: ls takes no name; it lists all stores")
        _list(json_)
    elif what == "rm":
        if not name:
            raise UsageProblem("oltr data store rm: name the dataset or the store; see: oltr data store ls")
        _remove(name, yes, json_)
    elif name:
        raise UsageProblem(f"oltr data store {what} {name}: one name, or ls, or rm NAME")
    else:
        _build(what, side, workers, root, lists, quiet, json_)


def _build(
    name: str, side: int | None, workers: int | None, root: Path | None, lists: Path | None, quiet: bool, json_: bool
) -> None:
    import shlex

    from oltr_cli.base.display import Display
    from oltr_cli.base.machine import cores
    from oltr_cli.base.text import amount, counted
    from oltr_cli.data.lists.lists import open_lists
    from oltr_cli.data.store.build import build_store
    from oltr_cli.data.store.folder import StoreFolder
    from oltr_cli.data.store.shards import WIDTH
    from oltr_cli.errors import UsageProblem

    spec, images, where = named_dataset(name, root, lists)
    if spec.kind != "lists":
        raise UsageProblem(f"{spec.name} is drawn, not stored as files; it is kept decoded anyway")
    display = Display(quiet)
    splits, _, _ = open_lists(spec.name, images, where)
    files = [file for split in splits.values() for file in split.files]
    folder = StoreFolder(spec.name, images, side or spec.store_side or 256)
    places, decoded = build_store(folder, files, cores() if workers is None else workers, display, again=True)
    bad = sorted({name for name, width in zip(files, places.column(WIDTH), strict=True) if not width})
    facts = {**_facts(folder), "decoded": decoded, "undecodable": bad}
    if json_:
        print_json(facts)
        return
    print(f"{folder.path}: {counted(len(set(files)), 'image')}, {decoded:,} decoded now, {amount(facts['bytes'])}")
    if bad:
        display.warn(f"{counted(len(bad), 'image')} cannot be decoded: {', '.join(bad[:3])}")
    dataset = shlex.quote(name)
    option = "" if spec.store_side == folder.side else f" --set data.store_side={folder.side}"
    display.say(f"[dim]next[/]  oltr run dme --dataset {dataset}{option}")


def _list(json_: bool) -> None:
    from rich.table import Table

    from oltr_cli.base.display import Display, SafeConsole
    from oltr_cli.base.text import amount
    from oltr_cli.data.store.features import find_features
    from oltr_cli.data.store.folder import ABOUT, cache_home, find_stores, lost_stores

    for folder in lost_stores():
        Display().warn(
            f"{folder / ABOUT}: missing or damaged; oltr data store NAME --side N writes it again, or remove the folder"
        )
    rows = [_facts(store) for store in find_stores()]
    features = [_facts_of_features(folder) for folder in find_features()]
    if json_:
        print_json(rows + features)
        return
    console = SafeConsole()
    if not rows:
        print(f"no stores in {cache_home()}; build one with: oltr data store NAME")
    else:
        console.print(_table_of_stores(rows))
    if features:
        table = Table(
            title=f"features of frozen backbones in {cache_home() / 'features'}", title_justify="left", box=None
        )
        for column in ("store", "dataset", "backbone", "size"):
            table.add_column(column, justify="right" if column == "size" else "left", overflow="fold")
        for row in features:
            table.add_row(row["store"], row["dataset"], row["backbone"], amount(row["bytes"]))
        console.print(table)


def _table_of_stores(rows: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    from oltr_cli.base.text import amount
    from oltr_cli.data.store.folder import cache_home

    table = Table(title=f"stores in {cache_home()}", title_justify="left", box=None)
    for column in ("store", "dataset", "side", "images", "size"):
        table.add_column(column, justify="left" if column in ("store", "dataset") else "right", overflow="fold")
    for row in rows:
        table.add_row(row["store"], row["dataset"], f"{row['side']} px", f"{row['images']:,}", amount(row["bytes"]))
    return table


def _remove(name: str, yes: bool, json_: bool) -> None:
    from oltr_cli.base.text import amount
    from oltr_cli.commands.rm import agreed
    from oltr_cli.data.store.features import find_features
    from oltr_cli.data.store.folder import cache_home, find_stores
    from oltr_cli.errors import UsageProblem

    there: list[StoreFolder | FeaturesFolder] = [*find_stores(), *find_features()]
    stores = [store for store in there if name in (store.dataset, store.path.name)]
    if not stores:
        known = ", ".join(dict.fromkeys(store.dataset for store in there)) or "none yet"
        raise UsageProblem(f"no store of '{name}' in {cache_home()}; there are: {known}")
    if not yes:
        for store in stores:
            typer.echo(f"{store.path}  {amount(store.size())}", err=True)
        if not agreed("remove what is stored? the images themselves stay"):
            return
    freed = {str(store.path): store.remove() for store in stores}
    if json_:
        print_json(freed)
        return
    for path, size in freed.items():
        print(f"removed {path}: {amount(size)} freed")


def _facts(store: "StoreFolder") -> dict[str, Any]:
    images = {name for shard in store.shards() for name in shard.names}
    return {
        "store": store.path.name,
        "kind": "pixels",
        "path": str(store.path),
        "dataset": store.dataset,
        "root": str(store.root),
        "side": store.side,
        "images": len(images),
        "bytes": store.size(),
    }


def _facts_of_features(folder: "FeaturesFolder") -> dict[str, Any]:
    return {
        "store": folder.path.name,
        "kind": "features",
        "path": str(folder.path),
        "dataset": folder.dataset,
        "backbone": folder.backbone,
        "weights": folder.weights,
        "bytes": folder.size(),
    }
