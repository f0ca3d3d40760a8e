"""ImageNet-LT (Liu et al. 2019, section 4 and Table 3 a): lists over the images of ILSVRC 2012 and 2010.

The authors' lists are used if they are there. Otherwise training images are drawn from ILSVRC2012's with exactly the
published number of each class (``imagenet_lt_counts.txt``): a set of the same shape but of other images, none of which
the validation list uses. Labels follow the sorted WordNet ids, as in the authors' lists.
"""

from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted, some
from oltr_cli.data.prepare.common import Prepared
from oltr_cli.data.prepare.draw import draw_train_val, published_counts, unequal
from oltr_cli.data.prepare.folders import image_folders, scan
from oltr_cli.data.prepare.ilsvrc import class_lines, validation_classes
from oltr_cli.data.prepare.official import label_problems, read_official
from oltr_cli.data.prepare.splits import SplitLists

NAME, PREFIX = "imagenet-lt", "ImageNet_LT"
COUNTS = "imagenet_lt_counts.txt"
VAL, TEST = 20, 50  # images of each class
OPEN_FOLDERS = ("open", "ImageNet_open", "ILSVRC2010_val")
KAGGLE = ("ILSVRC", "Data", "CLS-LOC")


def prepare_imagenet_lt(root: Path, lists: Path | None, display: Display) -> Prepared:
    """Write the lists that the recipe ``imagenet-lt`` reads, that do not exist yet.

    Args:
        root: holds ``train/<wnid>/*`` and ``val/`` of ILSVRC2012, flat or in class folders, and the open images.
        lists: folder of official lists, where the others are written; None: ``root``.
    Raises:
        DataProblem: folders, images or labels are missing, an official list is not the published one, or a list of
            another origin is in the way. All problems are listed.
    """
    made = SplitLists(root, lists, "a folder with train/<wnid>/*.JPEG and val/")
    counts = published_counts(COUNTS)
    classes = list(counts)
    official = read_official(NAME, PREFIX, (made.folder, root), list(counts.values()))
    for listed in official.values():
        made.problems += label_problems(listed, classes, _class_of)
    made.fail_if_wrong()
    for split in ("train", "val"):
        if split in official:
            made.take(split, official[split])
    if not {"train", "val"} <= official.keys():
        train = image_folders(root / "train", display, "reading train/")
        if found := _classes(root, train, classes, made):
            classes = found
            given = dict(zip(classes, counts.values(), strict=True))
            draw_train_val(NAME, "train", train, given, VAL, _class_of, official, made, display)
    if "test" in official:
        made.take("test", official["test"])
    else:
        _test(classes, made, display)
    made.open_images(
        NAME,
        PREFIX,
        official,
        lambda: _open_images(set(classes), made, display),
        if_none="they are validation images of ILSVRC2010: put them into ILSVRC2010_val/, or move the list away to do "
        "without open-set evaluation",
        without=f"add {PREFIX}_open.txt and ILSVRC2010's validation images, or put images of unknown classes into "
        "open/",
        except_for=", except those in class folders of known ids",
    )
    return made.finish(len(classes), class_lines(classes, _companions(made)), display)


def _companions(made: SplitLists) -> list[Path]:
    """Where files that come with ILSVRC may be: Kaggle's are above the folder with the images."""
    above = [made.root.absolute().parents[2]] if made.root.absolute().parts[-3:] == KAGGLE else []
    return [made.folder, made.root, *above]


def _class_of(path: str) -> str:
    """The class folder in a listed path; "" for the flat style."""
    parts = path.split("/")
    return parts[-2] if len(parts) > 2 else ""


def _classes(root: Path, train: dict[str, list[str]], known: list[str], made: SplitLists) -> list[str]:
    """The class folders by label: ILSVRC2012's, or any thousand that carry none of its ids (renamed ones).

    Empty if there are neither.
    """
    found = [name for name in train if name]
    missing = [name for name in known if name not in train]
    if not missing:
        return known
    if len(missing) == len(known):
        if len(found) == len(known):
            made.warnings.append(
                f"none of the class folders in train/ has an id of ILSVRC2012 ({some(found)}): labels follow "
                "their sorted names"
            )
            return found
        if any(name in known for name in scan(root)[0]):
            made.problems.append("holds class folders itself; give the folder that contains it as train/")
        else:
            made.problems.append(
                f"train/ has none of the {len(known):,} class folders of ILSVRC2012, but {len(found)} others; unpack "
                "ILSVRC2012_img_train.tar there, and each class's tar to a folder of the same name"
                if found
                else "no class folders train/<wnid>/; unpack ILSVRC2012_img_train.tar to train/, and each class's tar "
                "to a folder of the same name"
            )
        return []
    others = [name for name in found if name not in known]
    hint = f"; it has {len(others):,} that are not ILSVRC2012's: {some(others)}" if others else ""
    made.problems.append(f"train/ lacks {len(missing):,} of {len(known):,} class folders: {some(missing)}{hint}")
    return []


def _test(classes: list[str], made: SplitLists, display: Display) -> None:
    """All validation images of ILSVRC2012; class folders or a file that comes with them give their classes."""
    found = image_folders(made.root / "val", display, "reading val/")
    nested = {name: files for name, files in found.items() if name}
    labels = {name: label for label, name in enumerate(classes)}
    origin = "ILSVRC2012's validation images, classes by "
    if nested:
        rows = [(f"val/{name}/{file}", labels[name]) for name in classes for file in found.get(name, ())]
        origin += "folder"
    elif not found.get(""):
        made.problems.append("no images in val/; unpack ILSVRC2012_img_val.tar there")
        return
    else:
        said = validation_classes(_companions(made))
        if said is None:
            made.problems.append(
                "val/ is flat, and no file gives the classes of its images: add ImageNet_LT_test.txt, Kaggle's "
                "LOC_val_solution.csv or the folder ILSVRC2012_devkit_t12, or sort val/ into class folders"
            )
            return
        path, named = said
        by_file = {file: named.get(file.rpartition(".")[0], "") for file in found[""]}
        unknown = [file for file, name in by_file.items() if name not in labels]
        if unknown:
            made.problems.append(
                f"{path.name} has no class for {counted(len(unknown), 'image')} of val/: {some(unknown)}"
            )
            return
        rows = [(f"val/{file}", labels[name]) for file, name in by_file.items()]
        origin += path.name if path.is_file() else path.parent.name
    if wrong := unequal(classes, rows, TEST):
        made.problems.append(f"val/ should have {TEST} images of each class, but: {wrong}")
        return
    made.draw("test", rows, origin)


def _open_images(known: set[str], made: SplitLists, display: Display) -> dict[str, dict[str, list[str]]]:
    """Folder for open images → what it holds of no known class."""
    taken: dict[str, dict[str, list[str]]] = {}
    for folder in OPEN_FOLDERS:
        found = image_folders(made.root / folder, display, f"reading {folder}/")
        taken[folder] = {name: files for name, files in found.items() if name.split("/")[0] not in known}
        if folder == "ILSVRC2010_val" and taken[folder].pop("", []):  # flat, known classes are among them
            made.warnings.append(
                f"{folder}/ also holds classes of 2012, and {PREFIX}_open.txt is missing to tell them apart: images "
                "directly in it are not used"
            )
    return taken
