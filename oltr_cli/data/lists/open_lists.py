"""Lists beside open.txt and open_val.txt: further open test sets ``open_NAME.txt``, and outliers, ``open_train.txt``.

Outliers are trained on as unknown, so no class of theirs may be known, or open in another list. Lists have no class
names for open images; as far as there are class folders, their names tell.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from oltr_cli.base.text import counted, some
from oltr_cli.data.lists.list_file import find_list
from oltr_cli.errors import DataProblem
from oltr_cli.protocol.open_sets import OUTLIERS, is_open

_LIST = re.compile(r"(?:.*?_)?(open_[A-Za-z0-9][A-Za-z0-9.-]*(?:_[A-Za-z0-9.-]+)*)\.txt")
# The last word of names that are no open sets: other splits (open_images_val.txt may be the official list of a dataset
# Open Images), and texts that are no lists of images.
_SPLITS = {"train", "val", "test", "open", "probe", "distractors"}
_TEXTS = {"attributes", "classes"}
_OTHER = _SPLITS | _TEXTS


def find_open_sets(lists: Path) -> list[str]:
    """The splits of further open sets, as ``open_far``, that have a list ``open_far.txt`` or ``*_open_far.txt``."""
    matches = (_LIST.fullmatch(path.name) for path in lists.glob("*open_*.txt"))
    return sorted({match[1] for match in matches if match and match[1].split("_")[-1] not in _OTHER})


def misnamed_open_sets(lists: Path) -> Iterator[str]:
    """What is wrong with each list ``open_NAME.txt`` that is the list of no split: it would not be scored."""
    for path in sorted(lists.glob("open_*.txt")):
        last = re.split(r"[_\W]+", path.stem)[-1]
        if last in _SPLITS and not _is_list_of(last, path):
            yield (
                f"{path}: is not read, because names that end in _{last} are those of another split; rename the file, "
                "if its images are a further open set, as open_far.txt"
            )
        if last not in _OTHER and _LIST.fullmatch(path.name) is None:
            yield (
                f"{path}: the name of an open set has letters A to Z, digits, '_', '.' and '-', and starts with a "
                "letter or digit, as open_far.txt; rename the file"
            )


def _is_list_of(split: str, path: Path) -> bool:
    """Whether it is read as a split of that name; also where several lists are, which is an error of its own."""
    with suppress(DataProblem):
        return path.stem in ("open_val", OUTLIERS) or path == find_list(path.parent, split)
    return True


def check_classes(listed_in: Mapping[str, Path], names: Mapping[str, Sequence[str]]) -> None:
    """Outliers have no class folder of another list.

    Args:
        names: the listed paths of each split.
    Raises:
        DataProblem: naming both lists and the first folders.
    """
    for split, shared in shared_classes(names):
        raise DataProblem(f"{listed_in[OUTLIERS]}: {shared_text(listed_in[split].name, split, shared)}")


def shared_classes(names: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, list[str]]]:
    """(split, class folders that it shares with the outliers), of splits that share some.

    Training images and open ones are compared. Numbers name no class, and two lists that each lie in one folder, the
    same for both, may have different classes in it.
    """
    if OUTLIERS not in names:
        return
    own, one_folder = _class_folders(names[OUTLIERS])
    for split in names:
        if split == OUTLIERS or not (split == "train" or is_open(split)):
            continue
        theirs, also_one = _class_folders(names[split])
        if (shared := own & theirs) and not (one_folder and also_one):
            yield split, sorted(shared)


def shared_text(other: str, split: str, shared: Sequence[str]) -> str:
    """What is wrong with class folders that are in the list of outliers and in ``other``."""
    what = "are known" if split == "train" else "are tested as unknown" if split != "open_val" else "choose τ"
    return (
        f"{counted(len(shared), 'class folder')} also in {other}, so training takes classes for outliers that {what}: "
        f"{some(shared)}; list images of other classes, or rename folders that are no classes"
    )


def _class_folders(names: Sequence[str]) -> tuple[set[str], bool]:
    """What the folders of listed paths call the classes, and whether all images are in one folder.

    It is the last part of a folder that not all paths share: ``n01`` in ``train/n01/images/x.png``.
    """
    folders = [folder.split("/") for folder in {posixpath.dirname(posixpath.normpath(name)) for name in names}]
    shared = set.intersection(*map(set, folders)) if len(folders) > 1 else set()
    last = {next((part for part in reversed(folder) if part not in shared), "") for folder in folders}
    return {part for part in last if part and not part.isdigit()}, len(folders) == 1
