"""``oltr data prepare NAME`` for datasets whose images stay unchanged.

A dataset that needs only a folder is an entry of ``DATASETS``, from which its command is made.
"""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from oltr_cli.commands.data.prepare.common import prepare_app, prepared_root, report
from oltr_cli.commands.options import Json, Quiet

NewLists = Annotated[Path | None, typer.Option(help="Folder where lists are written; default ROOT")]

# Name → what its root holds, and the help. ``prepare_NAME`` of oltr_cli/data/prepare does the work.
DATASETS = {
    "imagenet-lt": (
        "train/WNID/* and val/ of ILSVRC2012",
        """ImageNet-LT, the data of Table 3 (a): lists of the unchanged images of ILSVRC 2012 and 2010.

        Uses ImageNet_LT_{train,val,test,open}.txt if they are there, and draws missing lists: exactly the published
        number of training images of each class, 20 others of each for validation, ILSVRC2012's validation images for
        test.

        ```
        oltr data prepare imagenet-lt
        oltr data prepare imagenet-lt --root /data/ILSVRC/Data/CLS-LOC --lists lists/imagenet-lt
        ```
        """,
    ),
    "places-lt": (
        "data_256/ and val_256/ of Places365",
        """Places-LT, the data of Table 3 (b): lists of the unchanged images of Places365-Standard.

        Uses Places_LT_{train,val,test,open}.txt if they are there, with paths adapted to the folders found, and draws
        missing lists: a training tail of the published shape, 20 others of each class for validation, Places365's
        validation images for test. torchvision's folders work too.

        ```
        oltr data prepare places-lt
        oltr data prepare places-lt --root /data/places365 --lists lists/places-lt
        ```
        """,
    ),
    "sun-lt": (
        "SUN397/ or its contents",
        """SUN-LT, the data of Table 4 (right): lists of the unchanged images of SUN397.

        The benchmark's lists are not public. These have its shape: half of each class minus 49 images for training, 1
        to 1,132 per class; 40 others of each for test, and 10 for validation.

        ```
        oltr data prepare sun-lt
        oltr data prepare sun-lt --root /data/SUN397 --lists lists/sun-lt
        ```
        """,
    ),
    "tiny-imagenet-lt": (
        "tiny-imagenet-200/ or its contents",
        """Tiny ImageNet with a scaled-down ImageNet-LT tail: 150 known, 35 open and 15 open validation classes.

        Draws lists from the usual download, whose images stay unchanged: 5 to 450 training images per known class, 20
        others for validation, Tiny ImageNet's validation images for test and open. Existing lists are checked and kept.

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
        lists: Annotated[
            Path | None, typer.Option(help="Folder where lists are read and written; default ROOT")
        ] = None,
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
    """Handwritten characters for identification as in Table 4, with probes from alphabets not used in training.

    Writes lists of the unchanged drawings. Training uses four alphabets with a long tail of drawings, probes are from
    two others, distractors from two more.

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
            help="Classes to set aside as unknown: how many, or a supercategory. Makes the dataset NAME-open…",
        ),
    ] = "",
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """iNaturalist 2018: lists of the unchanged images; 8,142 species, 437,513 training images.

    The labels of its test set are not public. Of the three official validation images per class, one is used for
    validation and two for the test.

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
        typer.Option(help="Holds one folder of images per identity, directly or in train/; default $OLTR_DATA/ms1m-lt"),
    ] = None,
    probe: Annotated[
        Path | None, typer.Option(help="People to identify (FaceScrub), one folder each; default ROOT/probe")
    ] = None,
    distractors: Annotated[
        Path | None, typer.Option(help="Images of other people (MegaFace) to search among; default ROOT/distractors")
    ] = None,
    attributes: Annotated[
        Path | None, typer.Option(help="File of lines 'PERSON GROUP' for rates by group, such as male and female")
    ] = None,
    images: Annotated[int, typer.Option(min=2, help="Training images to draw, at most all")] = 887_500,
    identities: Annotated[int, typer.Option(min=2, help="Identities to draw, at most all")] = 74_500,
    lists: NewLists = None,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """MS1M-LT, faces with a long tail, with MegaFace for identification (Table 4, left): lists of the unchanged images.

    The authors' lists are not public: images are drawn as the paper says, with a probability proportional to the
    number of images of their identity. Other numbers than the paper's get another name: ms1m-lt-100000-of-9000.

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
