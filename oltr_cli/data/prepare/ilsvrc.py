"""What comes with ILSVRC besides its images: names of the WordNet ids, and the classes of the validation images.

Kaggle's download has ``LOC_synset_mapping.txt`` and ``LOC_val_solution.csv``; the challenge's own has the folder
``ILSVRC2012_devkit_t12``, whose label numbers are not in the order of the WordNet ids; Tiny ImageNet has ``words.txt``.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from oltr_cli.data.prepare.common import read_text
from oltr_cli.errors import DataProblem

NAME_FILES = ("LOC_synset_mapping.txt", "words.txt")  # "n01440764 tench, Tinca tinca", by a blank or a tab
DEVKIT = Path("ILSVRC2012_devkit_t12", "data")
SOLUTION = "LOC_val_solution.csv"


def class_lines(classes: Sequence[str], folders: Iterable[Path]) -> list[str]:
    """A line of ``classes.txt`` for each WordNet id: the id, and its name where a file in ``folders`` gives one.

    The name is the first of the synonyms, or all of them where two classes share the first (crane, crane).
    """
    synonyms = _synonyms(folders, set(classes))
    first = {name: text.split(",")[0].strip() for name, text in synonyms.items()}
    times = Counter(first.values())
    names = {name: short if times[short] == 1 else synonyms[name] for name, short in first.items()}
    return [f"{name} {names[name]}" if names.get(name) else name for name in classes]


def _synonyms(folders: Iterable[Path], wanted: set[str]) -> dict[str, str]:
    """WordNet id → its synonyms with commas, from the first file that knows any of those ``wanted``."""
    for path in (folder / name for folder in folders for name in NAME_FILES):
        if path.is_file():
            rows = (line.split(maxsplit=1) for line in read_text(path).splitlines())
            found = {row[0]: row[1].strip() for row in rows if len(row) == 2 and row[0] in wanted}
            if found:
                return found
    return {}


def validation_classes(folders: Iterable[Path]) -> tuple[Path, dict[str, str]] | None:
    """The file with the classes, and image name without its ending → WordNet id, for ILSVRC2012's validation images.

    Raises:
        DataProblem: the file exists, but is not what its name says.
    """
    for folder in folders:
        if (folder / SOLUTION).is_file():
            return folder / SOLUTION, _solution(folder / SOLUTION)
        if (folder / DEVKIT).is_dir():
            return folder / DEVKIT, _devkit(folder / DEVKIT)
    return None


def _solution(path: Path) -> dict[str, str]:
    """``ImageId,PredictionString``; a prediction is a WordNet id and a box, several times over."""
    rows = list(csv.reader(read_text(path).splitlines()))
    if not rows or rows[0][:2] != ["ImageId", "PredictionString"]:
        raise DataProblem(f"{path}: does not begin with 'ImageId,PredictionString'")
    classes = {}
    for number, row in enumerate(rows[1:], 2):
        words = row[1].split() if len(row) > 1 else []
        if not words:
            raise DataProblem(f"{path}:{number}: has no class")
        classes[row[0]] = words[0]
    return classes


def _devkit(folder: Path) -> dict[str, str]:
    """``meta.mat`` has the WordNet id of each number, ``ILSVRC2012_validation_ground_truth.txt`` a number a line."""
    from scipy.io import loadmat

    meta, truth = folder / "meta.mat", folder / "ILSVRC2012_validation_ground_truth.txt"
    try:
        synsets = loadmat(meta, squeeze_me=True)["synsets"]
        ids = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    except Exception as error:  # scipy and NumPy may raise anything at a file of another kind
        raise DataProblem(f"{meta}: cannot be read ({error or type(error).__name__})") from None
    try:
        numbers = [int(line) for line in read_text(truth).split()]
        return {f"ILSVRC2012_val_{i:08}": ids[number] for i, number in enumerate(numbers, 1)}
    except (KeyError, ValueError) as error:
        raise DataProblem(f"{truth}: {error} is not the number of a class") from None
