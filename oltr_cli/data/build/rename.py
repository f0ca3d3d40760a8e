"""Renames a class: in classes.txt for new runs, and next to existing runs. Labels stay."""

from dataclasses import dataclass
from pathlib import Path

from oltr_cli.base.files import write_text
from oltr_cli.data.lists.lists import class_names
from oltr_cli.errors import DataProblem, UsageProblem, nearest
from oltr_cli.runs.class_names import check_class_name, read_class_names, write_class_names
from oltr_cli.runs.folder import finished_runs, runs_root


@dataclass(frozen=True)
class Renamed:
    """What has the new name now: ``runs`` of the dataset, and its ``file`` of names, if it has one."""

    runs: int
    file: Path | None


def rename_class(dataset: str, root: Path, lists: Path, old: str, new: str) -> Renamed:
    """Call the class ``old`` of ``dataset`` ``new``.

    Args:
        root, lists: folders of its images and of its lists, where classes.txt is looked for.

    Raises:
        UsageProblem: there is no such class, or ``new`` is no name, or that of another class.
        DataProblem: a file of names is damaged.
        OltrError: a file cannot be written.
    """
    check_class_name(new)
    results = [result for pairs in finished_runs(dataset).values() for _, result in pairs]
    folder = runs_root() / dataset
    # A run that a class was added to has the names of its lists first, and then others.
    extended = [result.class_names for result in results if result.added_class]
    of_lists = {result.data_digest or "": result.class_names for result in results if not result.added_class}
    by_digest = read_class_names(folder) | of_lists
    file = next((path for path in (lists / "classes.txt", root / "classes.txt") if path.is_file()), None)
    lines = _lines(file) if file else []
    in_file = class_names(root, lists, len(lines)) if file else []
    every = [*by_digest.values(), in_file]
    having = [names for names in every if old in names]
    if not having:
        raise UsageProblem(f"{dataset} has no class '{old}'{nearest(old, {name for names in every for name in names})}")
    if any(new in names for names in [*having, *extended]):
        raise UsageProblem(
            f"{dataset} has a class '{new}' already. Two classes cannot be merged by a name: put their images into one "
            "folder, build the dataset again, and train again"
        )
    if file and old in in_file:
        label = in_file.index(old)
        start = lines[label].removesuffix(old)
        lines[label] = f"{start or f'{label:06d} '}{new}"
        write_text(file, "".join(f"{line}\n" for line in lines))
    renamed = {digest: [new if name == old else name for name in names] for digest, names in by_digest.items()}
    if renamed != by_digest:
        write_class_names(folder, renamed)
    return Renamed(sum(old in result.class_names for result in results), file if old in in_file else None)


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataProblem(f"{file}: cannot be read ({error})") from None
