"""MS1M-LT: faces of MS-Celeb-1M with a long tail, and MegaFace's probes and distractors; only lists are written.

Source: Liu et al. 2019, section 4: "we sample images for each identity with a probability proportional to the image
numbers of each identity. It results in 887.5K images and 74.5K identities". The authors' lists are not public, so the
draw is made here, seeded by the names: the numbers are theirs, the images are not. How: see
oltr_cli/data/prepare/face_draw.py.

A run selects its best epoch on known identities, which the paper does not describe: of 2,000 identities with at least
three images one image is validation, another one test. The figures of Table 4 come from the probes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted, some
from oltr_cli.data.prepare.common import Prepared, as_lines, lists_to_write, variant_recipe, write_lists, write_recipe
from oltr_cli.data.prepare.face_draw import Draw, draw_faces
from oltr_cli.data.prepare.faces import Faces, identification_lists, read_faces
from oltr_cli.data.prepare.folders import file_problems
from oltr_cli.errors import DataProblem, UsageProblem, several
from oltr_cli.recipe.home import data_home

NAME = "ms1m-lt"
IMAGES, IDENTITIES = 887_500, 74_500  # the paper's, rounded as it has them
HELD_OUT = 2_000  # identities: the scores of one image are 74,500 numbers
ORIGIN = {
    "train": "drawn: an image's chance is proportional to its identity's number of images",
    "val": "another image of some of these identities",
    "test": "one more of each of them",
    "probe": "people to identify",
    "distractors": "other people, searched together with the probes",
}


@dataclass(frozen=True)
class Wish:
    """What ``oltr data prepare ms1m-lt`` should do.

    Attributes:
        root: holds the identity folders, in ``train/`` or itself. lists: where the lists go; None: ``root``.
        images, identities: how many to draw at most.
        probe, distractors: folders below ``root``; None: those of that name, if they exist.
        attributes: a file of lines ``PERSON GROUP`` about the probes.
    """

    root: Path
    lists: Path | None = None
    images: int = IMAGES
    identities: int = IDENTITIES
    probe: Path | None = None
    distractors: Path | None = None
    attributes: Path | None = None


@dataclass
class _Lists:
    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)  # list → paths below the root

    def add(self, split: str, rows: list[tuple[str, int]]) -> None:
        self.texts[split] = as_lines(f"{name} {label}" for name, label in rows)
        self.files[split] = [name for name, _ in rows]


def prepare_ms1m_lt(wish: Wish, display: Display) -> tuple[str, Prepared]:
    """Write the lists; return the name of the dataset and what is there now.

    Raises:
        UsageProblem: numbers out of range, or folders that are not below the root.
        DataProblem: no identities, too few images, empty files, or a list of another origin in the way.
    """
    if not 2 <= wish.identities <= wish.images:
        raise UsageProblem(
            f"--images {wish.images} of --identities {wish.identities}: at least two identities with one image each"
        )
    name, folder = _place(wish)
    faces = read_faces(wish.root, wish.probe, wish.distractors, display)
    drawn = draw_faces(faces.identities, wish.images, wish.identities, HELD_OUT, display)
    lists = _known_lists(faces, drawn)
    if faces.probe:
        probe, distractors, attributes = identification_lists(faces, wish.root, wish.attributes)
        lists.add("probe", probe)
        lists.add("distractors", distractors)
        if attributes:
            lists.texts["attributes"] = as_lines(attributes)
    new = lists_to_write(folder, lists.texts)
    if problems := file_problems(wish.root, {f"{split}.txt": names for split, names in lists.files.items()}, display):
        raise DataProblem(several(str(wish.root), problems))
    prepared = Prepared(wish.root, len(drawn.names), lists=folder, origin=ORIGIN)
    prepared.warnings += [*faces.warnings, *_shortfalls(wish, faces, drawn)]
    write_lists(prepared, lists.texts, new)
    if name != NAME:
        opening = f"MS1M-LT with {counted(drawn.images, 'image')} of {len(drawn.names):,} identities."
        write_recipe(prepared, variant_recipe(NAME, name, opening, wish.root, folder))
        prepared = replace(prepared, root=folder, lists=None)
    return name, prepared


def _place(wish: Wish) -> tuple[str, Path]:
    """Name of the dataset, and the folder of its lists."""
    if (wish.images, wish.identities) == (IMAGES, IDENTITIES):
        return NAME, wish.lists or wish.root
    name = f"{NAME}-{wish.images}-of-{wish.identities}"
    if wish.lists:
        raise UsageProblem(f"--lists: the lists of a set of another size go to $OLTR_DATA/{name}; leave out --lists")
    return name, data_home() / name


def _known_lists(faces: Faces, drawn: Draw) -> _Lists:
    lists = _Lists()
    for split, files in drawn.files.items():
        lists.add(
            split,
            [
                (f"{faces.prefix}{name}/{file}", label)
                for label, (name, of_one) in enumerate(zip(drawn.names, files, strict=True))
                for file in of_one
            ],
        )
    # A number that all lines begin with is not read as part of the names: names that begin with one stay whole.
    lists.texts["classes"] = as_lines(f"{label:06d} {name}" for label, name in enumerate(drawn.names))
    return lists


def _shortfalls(wish: Wish, faces: Faces, drawn: Draw) -> list[str]:
    """What the user should know about the resulting numbers."""
    warnings = []
    asked: Mapping[str, tuple[int, int]] = {
        "identities": (len(drawn.names), wish.identities),
        "images": (drawn.images, wish.images),
    }
    for what, (found, wanted) in asked.items():
        if found < wanted:
            warnings.append(f"only {found:,} training {what}; {wanted:,} were asked for")
    if not faces.probe:
        warnings.append(
            "no probe/ and distractors/: without them there is no identification (Table 4); give --probe and "
            "--distractors"
        )
    elif both := sorted({path.rpartition("/")[2] for path in faces.probe} & set(drawn.names)):
        warnings.append(f"names both trained on and among the probes; are they the same people? {some(both)}")
    return warnings
