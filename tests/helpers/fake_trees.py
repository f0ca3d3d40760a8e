"""Trees of files that stand for images: preparers look at names alone."""

from pathlib import Path

from oltr_cli.data.lists.lists import read_list


def put(root, names):
    """A file of one byte for each name below ``root``."""
    for folder in {Path(root, name).parent for name in names}:
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Path(root, name).write_bytes(b"x")


def listed(folder, split):
    """Path → label of our own list."""
    names, labels = read_list(Path(folder, f"{split}.txt"))
    assert len(set(names)) == len(names)
    return dict(zip(names, labels.tolist(), strict=True))


def write_list(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name} {label}\n" for name, label in rows))


def contents(root):
    """Every file below ``root``, its time of writing and what it says."""
    return {
        path.relative_to(root).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in Path(root).rglob("*")
        if path.is_file()
    }
