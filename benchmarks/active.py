"""What choosing with ``oltr data active`` is worth: five rounds of labelling, against random picks.

    python benchmarks/active.py                                    on glyphs-lt, which is built in
    python benchmarks/active.py --dataset tiny-imagenet-lt --out results
    python benchmarks/active.py --quick                            a tiny glyphs-lt, to see that it runs

Each seed is a run of plain, which is trained if it is not finished yet. _campaign.py has what a round does.
"""

import _measure  # before numpy and torch

# isort: split
import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _curve
import numpy as np
from _campaign import PICKERS, Course, Start, campaign, product, trained

from oltr_cli.base.display import Display
from oltr_cli.base.files import write_json
from oltr_cli.errors import OltrError
from oltr_cli.pipeline.make import make_runs
from oltr_cli.pipeline.training_scores import score_training_set
from oltr_cli.planning.plan import plan

TINY = [
    *_measure.TINY_SETS,
    *("backbone.width=8", "train.batch_size=16", "train.epochs=2"),
]
# What is printed of all rounds, or after the last one.
SHOWN: dict[str, Callable[[Course], float]] = {
    "closed, %": lambda course: 100 * course.accuracy["overall"][-1],
    "few-shot, %": lambda course: 100 * course.accuracy.get("few", [float("nan")])[-1],
    "open picks": lambda course: sum(course.open_picks),
    "few-shot picks": lambda course: sum(course.few_picks),
    "classes below 20": lambda course: course.few_left[-1],
    "new classes": lambda course: course.new_classes[-1],
}


def main() -> None:
    parser = _measure.parser(__doc__)
    parser.add_argument("--dataset", default="glyphs-lt", help="with a recipe and open images (default: glyphs-lt)")
    parser.add_argument("--seeds", type=_positive, default=3, help="runs of plain: seeds 0, 1, … (default: 3)")
    parser.add_argument("--rounds", type=_positive, default=5, help="of labelling (default: 5)")
    parser.add_argument("--budget", type=_positive, default=200, help="images to label a round (default: 200)")
    parser.add_argument("--out", type=Path, help="folder for active-DATASET.json and .png")
    options = parser.parse_args()
    _measure.set_threads()
    os.environ["OLTR_TRACKING"] = "off"
    try:
        run(options)
    except OltrError as error:
        sys.exit(str(error))


def run(options: Any) -> None:
    """The campaigns; a quick one leaves no runs behind."""
    if options.quick:
        options.dataset, options.seeds, options.rounds, options.budget = "glyphs-lt", 2, 2, 10
        with tempfile.TemporaryDirectory() as folder:
            os.environ |= {"OLTR_RUNS": folder, "XDG_CACHE_HOME": folder}
            report(options, measured(options, TINY))
    else:
        report(options, measured(options, []))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def measured(options: Any, sets: list[str]) -> dict[str, Any]:
    """All campaigns: by way of picking, one course a seed; and seconds of a choice and of a head."""
    display = Display(quiet=options.json)
    courses: dict[str, list[Course]] = {name: [] for name in PICKERS}
    for seed in range(options.seeds):
        start = ready(options.dataset, sets, seed, display)
        for name, pick in PICKERS.items():
            courses[name].append(campaign(start, pick, options.rounds, options.budget))
    head, everything = trained(start.labelled, start), np.arange(len(start.pile))
    forms = {
        "retraining the head": lambda: trained(start.labelled, start),
        "choosing": lambda: product(start, everything, head, options.budget, np.random.default_rng(0)),
    }
    seconds = _measure.medians(forms, options.repetitions)
    sizes = {
        "labelled": len(start.labelled),
        "in the pile": len(start.pile),
        "of them open": int((start.pile.labels < 0).sum()),
        "held out": len(start.held_out),
        "classes": len(start.class_counts),
        "few-shot classes": int((start.class_counts < 20).sum()),
    }
    return {"courses": courses, "seconds": seconds, "sizes": sizes}


def ready(dataset: str, sets: list[str], seed: int, display: Display) -> Start:
    """A finished run of plain with the scores of its training set; both are made if they are missing."""
    planned = plan("plain", dataset, sets, seed)
    result = make_runs(planned, device=None, workers=0, track=False, display=display)
    score_training_set(planned[-1].run, display, workers=0)
    # The head is trained as balanced-softmax trains, on the features that plain has.
    quick = [one for one in sets if not one.startswith("train.epochs")]
    train = plan("balanced-softmax", dataset, quick, seed)[-1].link.recipe.train
    return Start.of(planned[-1].run, train, result.shots, seed)


def report(options: Any, found: dict[str, Any]) -> None:
    """Print it, and write the numbers and the curve into ``--out``."""
    courses: dict[str, list[Course]] = found["courses"]
    settings = {name: getattr(options, name) for name in ("dataset", "seeds", "rounds", "budget", "quick")}
    facts = {**settings, "sizes": found["sizes"], "courses": as_json(courses)}
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        write_json(options.out / f"active-{options.dataset}.json", facts)
        _curve.save(options.out, f"active-{options.dataset}", options.dataset, options.budget, courses)
    last = {
        f"{name}, {what}": spread_of([value(course) for course in of_seeds])
        for name, of_seeds in courses.items()
        for what, value in SHOWN.items()
    }
    known = [course.measures[-1].text for course in courses["active"]]
    seconds = found["seconds"]
    ratio = {"choosing / retraining the head": seconds["choosing"] / seconds["retraining the head"]}
    _measure.report(options, "active", found["sizes"], seconds, ratio, **last, **{"the last score": known})


def spread_of(values: list[float]) -> str:
    """Mean and sample standard deviation."""
    deviation = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{deviation}"


def as_json(courses: dict[str, list[Course]]) -> dict[str, list[dict[str, Any]]]:
    """Numbers by way of picking and seed."""
    return {
        name: [{**asdict(course), "measures": [one.as_json() for one in course.measures]} for course in of_seeds]
        for name, of_seeds in courses.items()
    }


if __name__ == "__main__":
    main()
