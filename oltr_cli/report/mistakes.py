"""The most confident mistakes of a run, and thumbnails of them that are embedded in the page.

Which samples are rejected depends on τ, which the reader of the page can change. So for each kind of mistake the
samples with extreme confidences are kept, and the page shows those that are mistakes at the current τ.
"""

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from oltr_cli.base.display import Display
from oltr_cli.base.text import shortest
from oltr_cli.errors import DataProblem, OltrError, first_line
from oltr_cli.protocol.shots import ClassCounts, shot_groups
from oltr_cli.recipe.files import recorded_recipe
from oltr_cli.runs.folder import Run
from oltr_cli.runs.scores import SavedScores

if TYPE_CHECKING:
    from oltr_cli.data.feed.opening import OpenedDataset

KINDS = ("known_as_unknown", "unknown_as_known", "tail_as_head")
PER_KIND = 12
SIDE = 96  # pixels of a thumbnail's longer side
QUALITY = 80

Found = dict[str, tuple[str, SavedScores, NDArray[np.int64]]]


def find_mistakes(known: SavedScores, open_: SavedScores | None, counts: ClassCounts, shots: str) -> Found:
    """Kind → (split, its scores, the rows of at most PER_KIND samples, the most confident mistake first).

    ``known_as_unknown``: known samples of the lowest confidence; ``unknown_as_known``: open ones of the highest;
    ``tail_as_head``: samples of few-shot classes classified as a many-shot one, the highest confidence first.
    """
    groups = shot_groups(counts, shots)
    order = np.argsort(known.confidence, kind="stable")
    swapped = groups["few"][known.labels] & groups["many"][known.prediction]
    found: Found = {"known_as_unknown": ("test", known, order[:PER_KIND])}
    if open_ is not None:
        found["unknown_as_known"] = ("open", open_, np.argsort(-open_.confidence, kind="stable")[:PER_KIND])
    falling = np.argsort(-known.confidence, kind="stable")
    found["tail_as_head"] = ("test", known, falling[swapped[falling]][:PER_KIND])
    return found


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
        from oltr_cli.recipe.specs import DataSpec

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


def gallery(run: Run, found: Found, digest: str | None, album: Album) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """Kind → the samples for the page, and a sentence on what is wrong with their images ("": nothing).

    A sample has a picture (its number, or None), confidence, true and predicted class (−1 = open), and a name.

    Args:
        digest: of the dataset's lists when the run was made.
    """
    from oltr_cli.figures.networks import places

    key, dataset = album.dataset(run)
    problem = f"The images cannot be shown: {dataset}" if isinstance(dataset, str) else ""
    if not isinstance(dataset, str) and digest not in (None, dataset.digest):
        problem = f"The lists of {run.dataset} have changed since this run; the images shown may be others."
    shown: dict[str, list[dict[str, Any]]] = {}
    for kind, (split, scores, rows) in found.items():
        at: NDArray[np.int64] | None = None
        if not isinstance(dataset, str) and split in dataset.splits:
            try:
                at = places(scores, dataset.splits[split], str(run.scores(split)))
            except DataProblem as error:
                problem = f"The images cannot be found: {error}"
        shown[kind] = [
            {
                "picture": None
                if at is None or isinstance(dataset, str)
                else album.picture(key, dataset, split, int(at[row])),
                "confidence": shortest(scores.confidence[row]),
                "true": int(scores.labels[row]) if split == "test" else -1,
                "said": int(scores.prediction[row]),
                "name": "" if scores.paths is None else str(scores.paths[row]),
            }
            for row in rows.tolist()
        ]
    return shown, problem
