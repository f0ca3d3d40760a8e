"""The most confident mistakes of a run, and thumbnails of them that are embedded in the page.

Which samples are rejected depends on τ, which the reader of the page can change. So for each kind of mistake the
samples with extreme confidences are kept, and the page shows those that are mistakes at the current τ.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from oltr_cli.base.display import Display
from oltr_cli.base.text import shortest
from oltr_cli.errors import DataProblem, OltrError, first_line
from oltr_cli.protocol.mislabelled import SPLITS, check_cleanlab, perhaps_mislabelled
from oltr_cli.protocol.mistakes import PER_KIND, find_mistakes
from oltr_cli.recipe.files import recorded_recipe
from oltr_cli.runs.folder import Run
from oltr_cli.runs.result import RunResult
from oltr_cli.runs.scores import SavedScores

if TYPE_CHECKING:
    from oltr_cli.data.feed.opening import OpenedDataset

SIDE = 96  # pixels of a thumbnail's longer side
QUALITY = 80

MISLABELLED = "perhaps_mislabelled"
# Kind, split, scores and the rows of them to show; a kind may have samples of several splits.
Shown = Sequence[tuple[str, str, SavedScores, NDArray[np.integer]]]


def found_in(
    run: Run, known: SavedScores, open_: SavedScores | None, result: RunResult, shots: str
) -> tuple[Shown, str]:
    """The samples to show of a run, and why those whose labels are perhaps wrong are missing ("": they are not)."""
    found = find_mistakes(known, open_, result.class_counts, shots)
    shown = [(kind, split, scores, rows) for kind, (split, scores, rows) in found.items()]
    try:
        check_cleanlab()
        others = (split for split in SPLITS if split != "test" and run.scores(split).exists())
        splits = {"test": known, **{split: SavedScores.load(run.scores(split)) for split in others}}
        suspects = perhaps_mislabelled(splits, len(result.class_counts), PER_KIND)
    except OltrError as problem:
        return shown, first_line(problem)
    for split in splits:
        own = [one for one in suspects if one.split == split]
        chosen = splits[split].take(np.array([one.row for one in own], np.int64))
        suggested, quality = [one.suggested for one in own], [one.quality for one in own]
        said = replace(chosen, prediction=np.array(suggested, np.int64), confidence=np.array(quality, np.float32))
        shown.append((MISLABELLED, split, said, np.arange(len(own))))
    return shown, ""


class Album:
    """Thumbnails of datasets' images, each kept only once for all runs that show it.

    Attributes:
        pictures: data URIs, in the order of first use.
    """

    def __init__(self, display: Display) -> None:
        self.pictures: list[str] = []
        self._display = display
        self._opened: dict[str, OpenedDataset | str] = {}
        self._known: dict[tuple[str, str, int], int | None] = {}

    def dataset(self, run: Run) -> tuple[str, "OpenedDataset | str"]:
        """A key for the dataset that ``run`` was made on, and the dataset, or why it cannot be opened.

        Datasets of one name may have different images, such as the built-in dataset with another seed.
        """
        from oltr_cli.data.feed.opening import open_dataset
        from oltr_cli.recipe.data import DataSpec

        try:
            spec = DataSpec.model_validate(recorded_recipe(run.path).get("data", {}))
        except ValidationError:
            return run.name, f"{run.name}: its recipe.toml does not say where they are"
        key = spec.model_dump_json()
        if key not in self._opened:
            try:
                with self._display.bar("opening the dataset", 1) as bar:
                    self._opened[key] = open_dataset(spec, bar.reached)
            except OltrError as problem:
                self._opened[key] = first_line(problem)
        return key, self._opened[key]

    def picture(self, key: str, dataset: "OpenedDataset", split: str, place: int) -> int | None:
        """Number of the thumbnail of an image; None if it cannot be decoded."""
        where = key, split, place
        if where not in self._known:
            from oltr_cli.drawing.contact_sheet import fit

            try:
                image = fit(dataset.splits[split].image(place).numpy(), SIDE)
            except DataProblem:
                self._known[where] = None
            else:
                file = io.BytesIO()
                image.save(file, "JPEG", quality=QUALITY, optimize=True)
                self.pictures.append("data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode())
                self._known[where] = len(self.pictures) - 1
        return self._known[where]


def gallery(run: Run, found: Shown, digest: str | None, album: Album) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """Kind → the samples for the page, and a sentence on what is wrong with their images ("": nothing).

    A sample has a picture (its number, or None), confidence, true and predicted class (−1 = open), split and name.

    Args:
        digest: of the dataset's lists when the run was made.
    """
    from oltr_cli.figures.networks import places

    key, dataset = album.dataset(run)
    problem = f"The images cannot be shown: {dataset}" if isinstance(dataset, str) else ""
    if not isinstance(dataset, str) and digest not in (None, dataset.digest):
        problem = f"The lists of {run.dataset} have changed since this run; the images shown may be others."
    shown: dict[str, list[dict[str, Any]]] = {}
    for kind, split, scores, rows in found:
        at: NDArray[np.int64] | None = None
        if not isinstance(dataset, str) and split in dataset.splits:
            try:
                at = places(scores, dataset.splits[split], str(run.scores(split)))
            except DataProblem as error:
                problem = f"The images cannot be found: {error}"
        shown.setdefault(kind, []).extend(
            {
                "picture": None
                if at is None or isinstance(dataset, str)
                else album.picture(key, dataset, split, int(at[row])),
                "confidence": shortest(scores.confidence[row]),
                "true": int(scores.labels[row]) if split != "open" else -1,
                "said": int(scores.prediction[row]),
                "split": split,
                "name": "" if scores.paths is None else str(scores.paths[row]),
            }
            for row in rows.tolist()
        )
    if MISLABELLED in shown:
        shown[MISLABELLED].sort(key=lambda one: one["confidence"])
    return shown, problem
