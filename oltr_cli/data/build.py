"""``oltr data build``: class folders or a table of photographs become a dataset, without touching an image.

Written are lists, class names and a recipe below ``$OLTR_DATA/NAME``; the lists' paths start from the folder that holds
all images. What the same arguments gave before is left as it is, and lists of another draw are never overwritten.
"""

import csv
import hashlib
import os
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from oltr_cli.data.build_recipe import Sizing, recipe_text
from oltr_cli.data.build_split import Held, set_aside, split_as_is, split_with_tail
from oltr_cli.data.images import decode_file
from oltr_cli.data.preparing import IMAGE_SUFFIXES, as_lines, first_few
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.files import write_text
from oltr_cli.progress import Display
from oltr_cli.recipe_files import BUILT_RECIPE, builtin_recipes

SUFFIXES = IMAGE_SUFFIXES | {".gif", ".jfif", ".jp2", ".avif", ".heic"}
Photographs = dict[str, list[Path]]  # class → files


@dataclass(frozen=True)
class Wish:
    """What ``oltr data build`` was asked for.

    Attributes:
        as_is: keep the tail that nature gave; otherwise a Pareto tail (``alpha``, ``maximum``, ``minimum``) is drawn.
        open_classes: classes of ``images`` to set aside as unknown: names, or how many to draw.
        val, test: share of each class's images that is held out.
    """

    images: Path
    open_images: Path | None = None
    as_is: bool = False
    alpha: float = 6.0
    maximum: int = 1280
    minimum: int = 5
    open_classes: tuple[str, ...] | int = ()
    held: Held = field(default_factory=Held)
    seed: int = 0
    decode: bool = False
    sizing: Sizing = field(default_factory=Sizing)


@dataclass
class Built:
    """What lies in ``folder`` now."""

    folder: Path
    name: str
    classes: int
    counts: dict[str, int] = field(default_factory=dict)  # images by list
    shots: dict[str, int] = field(default_factory=dict)  # classes by shot group
    warnings: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)


def build_dataset(wish: Wish, folder: Path, display: Display, force: bool = False) -> Built:
    """Lists, class names and recipe for the photographs that ``wish`` names, in ``folder``.

    Raises:
        UsageProblem: a name that is taken, classes that are not there, values that do not fit.
        DataProblem: no images, too few of them, or lists of another draw in the way.
    """
    name = folder.name
    if name in builtin_recipes():
        raise UsageProblem(f"--out {name}: is a built-in dataset; choose another name")
    built = Built(folder, name, 0)
    known = _photographs(wish.images, "--images", built)
    foreign = _photographs(wish.open_images, "--open", built) if wish.open_images else {}
    sides = _readable([known, foreign], wish.decode, built, display)
    _without_copies(known, foreign, built, display)
    root = _common_root([path for one in (known, foreign) for files in one.values() for path in files])
    aside, known = set_aside(known, wish.open_classes, wish.seed)
    open_, open_val = _open_splits(aside, foreign, wish, built)
    if len(known) < 2:
        raise DataProblem(f"{wish.images}: {len(known)} classes with readable images; recognition needs two")
    if wish.as_is:
        splits = split_as_is(known, wish.held, wish.seed)
    else:
        splits = split_with_tail(known, wish.held, wish.seed, wish.alpha, wish.maximum, wish.minimum)
    classes = list(known)
    rows = {
        split: [(path, classes.index(c)) for c, files in chosen.items() for path in files]
        for split, chosen in splits.items()
    }
    if not rows["val"] or not rows["test"]:
        raise DataProblem(
            f"{wish.images}: no class has the three images of which one each goes to training, validation and test"
        )
    rows |= {
        split: [(path, -1) for path in files] for split, files in (("open", open_), ("open_val", open_val)) if files
    }
    counts = [len(splits["train"].get(c, ())) for c in classes]
    _explain_small(splits, classes, built)
    texts = {
        f"{split}.txt": as_lines(f"{path.relative_to(root).as_posix()} {label}" for path, label in pairs)
        for split, pairs in rows.items()
    }
    # A leading word is dropped from the names of a classes.txt where there are two, as WordNet ids are.
    texts["classes.txt"] = as_lines(f"{label:06d} {c}" for label, c in enumerate(classes))
    texts[BUILT_RECIPE] = recipe_text(name, root, folder, counts, sides, wish.sizing, wish.as_is)
    _write(folder, texts, force, built)
    built.classes = len(classes)
    built.counts = {split: len(pairs) for split, pairs in rows.items()}
    built.shots = {
        "many": sum(n > 100 for n in counts),
        "medium": sum(20 <= n <= 100 for n in counts),
        "few": sum(n < 20 for n in counts),
    }
    return built


def _photographs(source: Path, option: str, built: Built) -> Photographs:
    """Files by class: of a CSV, or by the folder that directly holds them (``""`` for the top folder itself)."""
    if source.is_file() and source.suffix.lower() == ".csv":
        return _from_csv(source)
    if not source.is_dir():
        raise DataProblem(f"{option} {source}: neither a folder nor a .csv file")
    found: Photographs = {}
    others = 0
    for folder, inside, files in os.walk(source.absolute(), followlinks=True):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        images = sorted(f for f in files if Path(f).suffix.lower() in SUFFIXES and not f.startswith("."))
        others += sum(not f.startswith(".") for f in files) - len(images)
        place = Path(folder).relative_to(source.absolute()).as_posix()
        unlisted = [f for f in images if _cannot_be_listed(f"{place}/{f}")]
        if unlisted:
            built.warnings.append(
                f"{folder!r}: {len(unlisted)} paths hold a line break or begin with a space: left out; rename them"
            )
        if kept := [Path(folder) / f for f in images if f not in unlisted]:
            found["" if place == "." else place] = kept
    if others:
        built.warnings.append(f"{source}: {others:,} files are no images by their names: left alone")
    if not found:
        raise DataProblem(f"{option} {source}: holds no images (*{', *'.join(sorted(SUFFIXES))})")
    if option == "--images" and "" in found:
        loose = found.pop("")
        built.warnings.append(f"{source}: {len(loose):,} images lie beside the class folders: left out")
        if not found:
            raise DataProblem(
                f"--images {source}: has no class folders; a class is a folder of its images, or give a CSV"
            )
    return dict(sorted(found.items()))


def _cannot_be_listed(path: str) -> bool:
    """A list has a line for each image and is stripped of what surrounds it."""
    return "\n" in path or "\r" in path or path != path.lstrip()


def _from_csv(file: Path) -> Photographs:
    """Lines ``path,label``; a first line that names no file is a header. Paths start from the file's folder."""
    found: Photographs = defaultdict(list)
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            for number, row in enumerate(csv.reader(text), 1):
                if not row:
                    continue
                if len(row) != 2 or not row[1].strip():
                    raise DataProblem(f"{file}:{number}: is not 'path,label'")
                path = Path(os.path.normpath(file.parent.absolute() / row[0]))
                if number == 1 and not path.exists():
                    continue
                if not path.is_file():
                    raise DataProblem(f"{file}:{number}: no such image {row[0]}")
                found[row[1].strip()].append(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataProblem(f"{file}: cannot be read ({error})") from None
    if not found:
        raise DataProblem(f"{file}: lists no image")
    return {name: sorted(set(files)) for name, files in sorted(found.items())}


def _readable(parts: list[Photographs], decode: bool, built: Built, display: Display) -> list[int]:
    """Drop, in place, what cannot be read; the shorter sides in pixels of the rest."""
    sides: list[int] = []
    broken: list[str] = []
    with display.bar("reading images", sum(len(files) for part in parts for files in part.values())) as bar:
        for part in parts:
            for name in list(part):
                kept = []
                for path in part[name]:
                    try:
                        sides.append(_shorter_side(path, decode))
                        kept.append(path)
                    except DataProblem as problem:
                        broken.append(str(problem))
                    bar.advance()
                part[name] = kept
                if not kept:
                    del part[name]
    if broken:
        built.warnings.append(f"{len(broken):,} images cannot be read and are left out: {first_few(broken)}")
    return sides


def _shorter_side(path: Path, decode: bool) -> int:
    """Of the header alone, or after all pixels were decoded."""
    if decode:
        return min(decode_file(path).shape[1:])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return min(image.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise DataProblem(f"{path}: no image") from None


def _without_copies(known: Photographs, foreign: Photographs, built: Built, display: Display) -> None:
    """Keep, in place, one of several files with the same bytes, so that none stands in two splits; none when their
    classes differ."""
    owners: dict[Path, str] = {path: name for name, files in known.items() for path in files}
    owners |= {path: "" for files in foreign.values() for path in files}
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in owners:
        by_size[path.stat().st_size].append(path)
    suspects = [path for group in by_size.values() if len(group) > 1 for path in group]
    by_content: dict[str, list[Path]] = defaultdict(list)
    with display.bar("looking for copies", max(1, len(suspects))) as bar:
        for path in suspects:
            by_content[hashlib.sha256(path.read_bytes()).hexdigest()].append(path)
            bar.advance()
    dropped: set[Path] = set()
    contradictory = 0
    for copies in by_content.values():
        if len({owners[path] for path in copies}) > 1:
            dropped.update(copies)
            contradictory += 1
        else:
            dropped.update(sorted(copies)[1:])
    for part in (known, foreign):
        for name in list(part):
            part[name] = [path for path in part[name] if path not in dropped]
            if not part[name]:
                del part[name]
    if contradictory:
        built.warnings.append(f"{contradictory:,} images stand in more than one class, or are known and open: left out")
    if dropped:
        built.warnings.append(f"{len(dropped):,} files are copies of others and are left out")


def _common_root(files: list[Path]) -> Path:
    if not files:
        raise DataProblem("no image can be read")
    try:
        return Path(os.path.commonpath([path.parent for path in files]))
    except ValueError:
        raise DataProblem(
            "images and open images lie on different drives; lists have one folder to start from"
        ) from None


def _open_splits(aside: Photographs, foreign: Photographs, wish: Wish, built: Built) -> tuple[list[Path], list[Path]]:
    """Open test and open validation images; by class where there are two or more, else by image."""
    groups = {**{f"{name} (set aside)": files for name, files in aside.items()}, **foreign}
    if not groups:
        built.warnings.append(
            "no open images: no open-set figures, and no threshold tuned on unknowns; give --open or --open-classes"
        )
        return [], []
    if len(groups) == 1:
        built.warnings.append("open images are one group: open and open_val share its kind, so a tuned τ is kinder")
        files = sorted(*groups.values())
        val = {path for i, path in enumerate(files) if i % 4 == 0}
    else:
        val_groups, _ = set_aside(groups, max(1, round(len(groups) * 0.3)), wish.seed)
        val = {path for files in val_groups.values() for path in files}
    every = [path for files in groups.values() for path in files]
    return [path for path in every if path not in val], [path for path in every if path in val]


def _explain_small(splits: dict[str, Photographs], classes: list[str], built: Built) -> None:
    for split, needed in (("test", 2), ("val", 3)):
        without = [c for c in classes if not splits[split].get(c)]
        if without:
            built.warnings.append(
                f"{len(without)} classes have fewer than {needed} images and none in {split}: {first_few(without)}"
            )


def _write(folder: Path, texts: dict[str, str], force: bool, built: Built) -> None:
    """Write what is not there yet; what is there must say the same, unless ``force``."""
    stale = [f for f in ("open.txt", "open_val.txt") if f not in texts and (folder / f).exists()]
    other = [f for f, text in texts.items() if (folder / f).exists() and (folder / f).read_bytes() != text.encode()]
    if (stale or other) and not force:
        raise DataProblem(
            f"{folder}: {', '.join(stale + other)} of another build; --force replaces them, or choose another --out"
        )
    for name in stale:
        (folder / name).unlink()
    for name, text in texts.items():  # the recipe last: with it the dataset has a name
        if name in other or not (folder / name).exists():
            write_text(folder / name, text)
            built.written.append(name)
