"""Eight alphabets of Omniglot as a small stand-in for MS1M-LT and MegaFace (Liu et al. 2019, Table 4): only lists.

Source of the drawings: Lake et al., "Human-level concept learning through probabilistic program induction", Science
2015; 20 drawings per character, each by another person. A character is an identity. Four alphabets are for training,
two are searched among two more, so that no identity, and no script, is on both sides. Of a training character two
drawings are validation, two test, and 1 to 16 of the others are trained on, with a Pareto tail that each alphabet has
from head to tail. Which ones follows from the names alone.
"""

from pathlib import Path

from oltr_cli.base.text import some
from oltr_cli.data.longtail import assign_counts, pareto_counts
from oltr_cli.data.prepare.common import Prepared, as_lines, drawn, folders_in, images_in, lists_to_write, write_lists
from oltr_cli.errors import DataProblem, several

TRAIN = ("Balinese", "Japanese_(katakana)", "Korean", "Sanskrit")
PROBE = ("Greek", "Latin")
DISTRACTORS = ("Early_Aramaic", "Tagalog")
DRAWINGS, HELD_OUT = 20, 2  # of a character; of those for validation, and as many for test
TAIL = {"floor": 1, "alpha": 1.0, "scale": 2.0, "maximum": DRAWINGS - 2 * HELD_OUT}
MEANING = {
    "train": f"1 to {TAIL['maximum']:.0f} drawings of each character of {len(TRAIN)} alphabets",
    "val": f"{HELD_OUT} other drawings of each",
    "test": f"{HELD_OUT} more of each",
    "probe": f"all drawings of the characters of {' and '.join(PROBE)}",
    "distractors": "all drawings of two more alphabets",
}

_Characters = list[tuple[str, list[str]]]  # "alphabet/character", its sorted drawings below the root


def prepare_omniglot_small(root: Path) -> Prepared:
    """Write the lists that the recipe ``omniglot-small`` reads to ``root``, which holds ``<alphabet>/<character>/*``.

    Raises:
        DataProblem: an alphabet or a drawing is missing, or a list of another origin is in the way.
    """
    if not root.is_dir():
        raise DataProblem(f"{root}: no such folder; give --root, a folder with ALPHABET/CHARACTER/*.png")
    parts = {name: _characters(root, alphabets) for name, alphabets in _PARTS.items()}
    if problems := _problems(root, parts):
        raise DataProblem(several(str(root), problems))
    lines: dict[str, list[str]] = {name: [] for name in ("train", "val", "test", "probe", "distractors", "attributes")}
    counts = assign_counts(
        pareto_counts(len(parts["train"]), **TAIL),  # type: ignore[arg-type]  # whole numbers and fractions in one table
        [name.split("/")[0] for name, _ in parts["train"]],
        seed=0,
    )
    for label, ((_, drawings), count) in enumerate(zip(parts["train"], counts.tolist(), strict=True)):
        order = drawn("omniglot-small", "split", drawings, len(drawings))
        taken = {"val": order[:HELD_OUT], "test": order[HELD_OUT : 2 * HELD_OUT]}
        taken["train"] = order[2 * HELD_OUT : 2 * HELD_OUT + count]
        for split, files in taken.items():
            lines[split] += [f"{file} {label}" for file in sorted(files)]
    for identity, (name, drawings) in enumerate(parts["probe"]):
        lines["probe"] += [f"{file} {identity}" for file in drawings]
        lines["attributes"] += [f"{file} {name.split('/')[0].lower()}" for file in drawings]
    lines["distractors"] = [f"{file} -1" for _, drawings in parts["distractors"] for file in drawings]
    texts = {"classes": as_lines(name for name, _ in parts["train"])}
    texts |= {name: as_lines(rows) for name, rows in lines.items()}
    prepared = Prepared(root, len(parts["train"]))
    write_lists(prepared, texts, lists_to_write(root, texts))
    return prepared


_PARTS = {"train": TRAIN, "probe": PROBE, "distractors": DISTRACTORS}


def _characters(root: Path, alphabets: tuple[str, ...]) -> _Characters:
    return [
        (f"{alphabet}/{folder.name}", [f"{alphabet}/{folder.name}/{file}" for file in images_in(folder)])
        for alphabet in alphabets
        for folder in folders_in(root / alphabet)
    ]


def _problems(root: Path, parts: dict[str, _Characters]) -> list[str]:
    """What the folder lacks of Omniglot's eight alphabets."""
    problems = []
    missing = [name for alphabets in _PARTS.values() for name in alphabets if not folders_in(root / name)]
    if missing:
        problems.append(f"no characters of {', '.join(sorted(missing))}; unpack Omniglot as ALPHABET/CHARACTER/*.png")
    wrong = [
        f"{name} {len(drawings)}" for part in parts.values() for name, drawings in part if len(drawings) != DRAWINGS
    ]
    if wrong:
        problems.append(f"{DRAWINGS} drawings per character are needed, but: {some(wrong)}")
    return problems
