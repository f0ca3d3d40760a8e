"""``oltr data prepare NAME`` of the datasets whose images stay as they are.

Those that need a folder alone are an entry each, of which a command is made.
"""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from oltr_cli.commands.data.prepare.common import prepare_app, prepared_root, report
from oltr_cli.commands.options import Json, Quiet

NewLists = Annotated[Path | None, typer.Option(help="Where the lists are written; default ROOT")]

# Name → what its root holds, and the help. ``prepare_NAME`` of oltr_cli/data/prepare does the work.
DATASETS = {
    "imagenet-lt": (
        "train/WNID/* and val/ of ILSVRC2012",
        """ImageNet-LT, the data of Table 3 (a): lists over the images of ILSVRC 2012 and 2010, which stay as they are.

        Takes ImageNet_LT_{train,val,test,open}.txt where they are, and draws what is missing: training images with
        exactly the published number of each class, 20 others of each for validation, ILSVRC2012's validation images
        for test.

        ```
        oltr data prepare imagenet-lt
        oltr data prepare imagenet-lt --root /data/ILSVRC/Data/CLS-LOC --lists lists/imagenet-lt
        ```
        """,
    ),
    "places-lt": (
        "data_256/ and val_256/ of Places365",
        """Places-LT, the data of Table 3 (b): lists over the images of Places365-Standard, which stay as they are.

        Takes Places_LT_{train,val,test,open}.txt where they are, with paths as the folders are called here, and draws
        what is missing: a training tail of the published shape, 20 others of each class for validation, Places365's
        validation images for test. torchvision's folders are understood.

        ```
        oltr data prepare places-lt
        oltr data prepare places-lt --root /data/places365 --lists lists/places-lt
        ```
        """,
    ),
    "sun-lt": (
        "SUN397/ or what is in it",
        """SUN-LT, the data of Table 4 (right): lists drawn over the images of SUN397, which stay as they are.

        The benchmark's lists are not public. These have its shape: half of each class less 49 images for training, 1 to
        1,132 of a class, 40 others of each for test, and 10 for validation.

        ```
        oltr data prepare sun-lt
        oltr data prepare sun-lt --root /data/SUN397 --lists lists/sun-lt
        ```
        """,
    ),
    "tiny-imagenet-lt": (
        "tiny-imagenet-200/ or what is in it",
        """Tiny ImageNet with ImageNet-LT's tail in small: 150 known classes, 35 open ones and 15 for open validation.

        Draws the lists from the ordinary download, whose images stay as they are: 5 to 450 training images of a known
        class, 20 others for validation, Tiny ImageNet's validation images for test and open. Lists that are there
        already are checked and left.

        ```
        oltr data prepare tiny-imagenet-lt
        oltr data prepare tiny-imagenet-lt --root downloads/tiny-imagenet-200
        ```
        """,
    ),
}


def _add(name: str, holds: str, about: str) -> None:
    @prepare_app.command(name, help=about)
    def prepare(
        root: Annotated[Path | None, typer.Option(help=f"Holds {holds}; default $OLTR_DATA/{name}")] = None,
        lists: Annotated[Path | None, typer.Option(help="Where lists lie and are written, if not in ROOT")] = None,
        quiet: Quiet = False,
        json_: Json = False,
    ) -> None:
        from oltr_cli.base.display import Display

        display, of = Display(quiet), name.replace("-", "_")
        module = import_module(f"oltr_cli.data.prepare.{of.removesuffix('_lt')}")
        prepared = getattr(module, f"prepare_{of}")(prepared_root(name, root), lists and lists.expanduser(), display)
        report(name, prepared, prepared.origin, display, json_)


for _name, (_holds, _about) in DATASETS.items():
    _add(_name, _holds, _about)


@prepare_app.command("omniglot-small")
def omniglot_small(
    root: Annotated[
        Path | None, typer.Option(help="Holds ALPHABET/CHARACTER/*; default $OLTR_DATA/omniglot-small")
    ] = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Handwritten characters for identification as in Table 4: probes of alphabets that training never saw.

    Writes the lists; the drawings stay as they are. Training is on four alphabets with a long tail of drawings, probes
    are of two others, distractors of two more.

    ```
    oltr data prepare omniglot-small
    oltr data prepare omniglot-small --root data/omniglot-small
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.data.prepare.omniglot import MEANING, prepare_omniglot_small

    prepared = prepare_omniglot_small(prepared_root("omniglot-small", root))
    report("omniglot-small", prepared, MEANING, Display(quiet), json_)


@prepare_app.command("inaturalist2018")
def inaturalist2018(
    root: Annotated[
        Path | None,
        typer.Option(
            help="Holds train2018.json, val2018.json and train_val2018/ (torchvision: 2018/); "
            "default $OLTR_DATA/inaturalist2018"
        ),
    ] = None,
    lists: NewLists = None,
    open_classes: Annotated[
        str,
        typer.Option(
            metavar="N|NAME",
            help="Classes to set aside as unknown: how many, or a supercategory. A dataset of its own, NAME-open…",
        ),
    ] = "",
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """iNaturalist 2018: 8,142 species, 437,513 training images; lists over the images, which stay as they are.

    The labels of its test set are not public. Of the three official validation images a class one is validation, and
    two are the test set.

    ```
    oltr data prepare inaturalist2018 --root /data/inat2018
    oltr data prepare inaturalist2018 --open-classes 500          # the dataset inaturalist2018-open500
    oltr data prepare inaturalist2018 --open-classes Fungi        # inaturalist2018-open-fungi
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.data.prepare.inaturalist import NAME, prepare_inaturalist2018

    display = Display(quiet)
    where = lists.expanduser() if lists else None
    name, prepared = prepare_inaturalist2018(prepared_root(NAME, root), where, open_classes.strip(), display)
    report(name, prepared, prepared.origin, display, json_)


@prepare_app.command("ms1m-lt")
def ms1m_lt(
    root: Annotated[
        Path | None,
        typer.Option(
            help="Holds a folder of images for each identity, itself or in train/; default $OLTR_DATA/ms1m-lt"
        ),
    ] = None,
    probe: Annotated[
        Path | None, typer.Option(help="People to identify (FaceScrub), a folder each; default ROOT/probe")
    ] = None,
    distractors: Annotated[
        Path | None, typer.Option(help="Strangers among whom (MegaFace), any images; default ROOT/distractors")
    ] = None,
    attributes: Annotated[
        Path | None, typer.Option(help="Lines 'PERSON GROUP' for rates by group, such as male and female")
    ] = None,
    images: Annotated[int, typer.Option(min=2, help="Training images to draw, or all there are")] = 887_500,
    identities: Annotated[int, typer.Option(min=2, help="Identities to draw, or all there are")] = 74_500,
    lists: NewLists = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """MS1M-LT, faces with a long tail, and MegaFace to identify (Table 4, left); the images stay as they are.

    The authors' lists are not public: images are drawn as the paper says, with a chance proportional to how many their
    identity has. Other numbers than the paper's make a dataset of their own, such as ms1m-lt-100000-of-9000.

    ```
    oltr data prepare ms1m-lt --root /data/faces
    oltr data prepare ms1m-lt --attributes gender.txt
    oltr data prepare ms1m-lt --images 100000 --identities 9000
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.data.prepare.ms1m import NAME, Wish, prepare_ms1m_lt

    display = Display(quiet)
    paths = [path.expanduser() if path else None for path in (lists, probe, distractors, attributes)]
    wish = Wish(prepared_root(NAME, root), paths[0], images, identities, *paths[1:])
    name, prepared = prepare_ms1m_lt(wish, display)
    report(name, prepared, prepared.origin, display, json_)
