"""Folders of faces: identities to train on, people to identify, distractors, and groups of the people.

All are below one root, because the paths of the lists start from one folder.
"""

import os
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

from oltr_cli.base.display import Display
from oltr_cli.base.text import counted, some
from oltr_cli.data.lists.identities import GROUP_NAME, RATES
from oltr_cli.data.prepare.folders import image_folders, scan
from oltr_cli.errors import DataProblem, UsageProblem

TRAIN = "train"
Rows = list[tuple[str, int]]  # path below the root, label


@dataclass
class Faces:
    """What was found.

    Attributes:
        prefix: of an identity's folder below the root: ``"train/"`` or nothing.
        identities: name → its file names, one a line, sorted.
        probe, distractors: folder below the root → its file names.
        probe_folder: below the root.
    """

    prefix: str
    identities: dict[str, str]
    probe: dict[str, list[str]] = field(default_factory=dict)
    distractors: dict[str, list[str]] = field(default_factory=dict)
    probe_folder: str = ""
    warnings: list[str] = field(default_factory=list)


def read_faces(root: Path, probe: Path | None, distractors: Path | None, display: Display) -> Faces:
    """Names of all images: identities in ``train/`` or the root itself, ``probe/`` and ``distractors/`` beside them.

    Raises:
        UsageProblem: one of probe and distractors without the other, or not below the root.
        DataProblem: there are no images, or folders do not hold what they should.
    """
    if not root.is_dir():
        raise DataProblem(f"{root}: no such folder; give --root, a folder with IDENTITY/*.jpg, or train/IDENTITY/*.jpg")
    places = _places(root, probe, distractors)
    prefix = f"{TRAIN}/" if (root / TRAIN).is_dir() else ""
    faces = Faces(prefix, {})
    _read_identities(root, {place.split("/")[0] for place in places.values()}, faces, display)
    if places:
        faces.probe_folder = places["probe"]
        faces.probe = _below(root, places["probe"], display)
        faces.distractors = _below(root, places["distractors"], display)
        _check_people(root, faces)
    return faces


def identification_lists(faces: Faces, root: Path, attributes: Path | None) -> tuple[Rows, Rows, list[str]]:
    """Rows of ``probe.txt`` and ``distractors.txt``, and lines of ``attributes.txt``, if there is such a file.

    Raises:
        DataProblem: a line of the file is not ``PERSON GROUP``, or names a person who is not a probe.
    """
    probe = [(f"{folder}/{file}", i) for i, (folder, files) in enumerate(faces.probe.items()) for file in files]
    distractors = [(f"{folder}/{file}", -1) for folder, files in faces.distractors.items() for file in files]
    return probe, distractors, _groups(faces, attributes) if attributes else []


def _places(root: Path, probe: Path | None, distractors: Path | None) -> dict[str, str]:
    """``probe`` and ``distractors`` → their folders below the root; nothing where there are none."""
    given = {"probe": probe, "distractors": distractors}
    found = {
        name: folder or root / name for name, folder in given.items() if folder is not None or (root / name).is_dir()
    }
    if len(found) == 1:
        there, absent = next(iter(found)), "distractors" if "probe" in found else "probe"
        raise UsageProblem(f"--{absent} is missing: identification needs it besides {found[there]}")
    places = {}
    for name, folder in found.items():
        if not folder.is_dir():
            raise DataProblem(f"--{name} {folder}: no such folder")
        place = Path(os.path.relpath(folder, root))  # by its name: a link below the root counts as below it
        if place.parts[:1] in ((), ("..",)) or place.is_absolute():
            raise UsageProblem(
                f"--{name} {folder}: is not below {root}, where the paths in the lists start; add a link: "
                f"ln -s {folder.absolute()} {root / name}"
            )
        places[name] = place.as_posix()
    for outer, inner in permutations([*places.values(), *([TRAIN] if (root / TRAIN).is_dir() else [])], 2):
        if f"{inner}/".startswith(f"{outer}/"):
            raise UsageProblem(f"{outer} contains {inner}: identities, probes and distractors need separate folders")
    return places


def _read_identities(root: Path, others: set[str], faces: Faces, display: Display) -> None:
    folder = root / faces.prefix
    names, loose = scan(folder)
    names = [name for name in names if faces.prefix or name not in others]
    empty, unlisted = [], 0
    with display.bar("reading identities", max(1, len(names)), "identities") as bar:
        for name in names:
            files = scan(folder / name)[1]
            kept = [file for file in files if not _breaks_a_line(name + file)]
            unlisted += len(files) - len(kept)
            if kept:
                faces.identities[name] = "\n".join(kept)
            elif not files:
                empty.append(name)
            bar.advance()
    if not faces.identities:
        raise DataProblem(f"{folder}: {_nothing(folder, names, loose)}")
    if empty:
        faces.warnings.append(f"left out, folders without an image ({len(empty):,}): {some(empty)}")
    if loose:
        faces.warnings.append(f"left out, images outside of the identity folders ({len(loose):,})")
    if unlisted:
        faces.warnings.append(f"left out, names with a line break ({unlisted:,}); rename them")


def _nothing(folder: Path, names: list[str], loose: list[str]) -> str:
    """The likely reason why there is no identity."""
    if any((folder / name).is_file() for name in ("train.rec", "train.idx")):
        return "holds MXNet's train.rec; unpack it to one folder of JPEG files per identity"
    if names:
        return f"has {counted(len(names), 'folder')}, none with an image directly in it: {some(names)}"
    if loose:
        return f"has {counted(len(loose), 'image')} and no folder; put the images of each identity into a folder"
    return "has no identity folders IDENTITY/*.jpg"


def _below(root: Path, place: str, display: Display) -> dict[str, list[str]]:
    """Folder below the root → its images, for all folders with images in ``place``."""
    found = image_folders(root / place, display, f"reading {place}/")
    kept = {
        f"{place}/{folder}".rstrip("/"): [file for file in files if not _breaks_a_line(folder + file)]
        for folder, files in found.items()
    }
    return {folder: files for folder, files in kept.items() if files}


def _check_people(root: Path, faces: Faces) -> None:
    place = root / faces.probe_folder
    if faces.probe.pop(faces.probe_folder, None):
        faces.warnings.append(f"left out, images of {place} outside of the people's folders")
    if not any(len(files) > 1 for files in faces.probe.values()):
        raise DataProblem(f"{place}: no person has two images; a probe is found by another image of the same person")
    if not faces.distractors:
        raise DataProblem(f"{root}: no images of distractors")


def _groups(faces: Faces, path: Path) -> list[str]:
    """Lines ``path group`` for every probe that a line of the file names."""
    people: dict[str, list[str]] = {}
    for folder, files in faces.probe.items():
        every = [f"{folder}/{file}" for file in files]
        below = folder.removeprefix(f"{faces.probe_folder}/")
        for name in {folder, below, below.rpartition("/")[2]}:
            people.setdefault(name, []).extend(every)
        people |= {image: [image] for image in every}
        people |= {image.removeprefix(f"{faces.probe_folder}/"): [image] for image in every}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataProblem(f"--attributes {path}: cannot be read ({error})") from None
    found: dict[str, None] = {}
    for line_number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        person, _, group = (part.strip() for part in line.strip().rpartition(" "))
        if person not in people:
            raise DataProblem(
                f"{path}:{line_number}: '{person[:80]}' is not among the probes; a line is 'PERSON GROUP', "
                f"where PERSON is a folder or an image in {faces.probe_folder}/"
            )
        if not GROUP_NAME.fullmatch(group) or group in RATES:
            raise DataProblem(
                f"{path}:{line_number}: invalid group name '{group[:80]}'; use letters, digits, '_', '.' and '-'"
            )
        found |= dict.fromkeys(f"{image} {group}" for image in people[person])
    return sorted(found)


def _breaks_a_line(name: str) -> bool:
    return "\n" in name or "\r" in name
