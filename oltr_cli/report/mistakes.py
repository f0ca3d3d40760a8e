"""The most confident mistakes of a run, and thumbnails of them that travel inside the page.

Which samples are rejected depends on τ, which the reader of the page moves. So for each kind of mistake the samples at
the far end of the confidences are kept, and the page shows those of them that are mistakes at its τ.
"""

import base64
import io
import tomllib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oltr_cli.errors import DataProblem, OltrError
from oltr_cli.progress import Display
from oltr_cli.runs import Run
from oltr_cli.scores import SavedScores
from oltr_cli.shots import ClassCounts, shot_groups

if TYPE_CHECKING:
    from oltr_cli.data.loading import OpenedDataset

KINDS = ("known_as_unknown", "unknown_as_known", "tail_as_head")
PER_KIND = 12
SIDE = 96  # pixels of a thumbnail's longer side
QUALITY = 80

Found = dict[str, tuple[str, SavedScores, NDArray[np.int64]]]


def find_mistakes(known: SavedScores, open_: SavedScores | None, counts: ClassCounts, shots: str) -> Found:
    """Kind → (split, its scores, the rows of at most PER_KIND samples, the most confident mistake first).

    ``known_as_unknown``: known samples of the lowest confidence; ``unknown_as_known``: open ones of the highest;
    ``tail_as_head``: samples of few-shot classes taken for a many-shot one, the highest confidence first.
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
    """Thumbnails of a dataset's images, each kept once however many runs show it.

    Attributes:
        pictures: data URIs, in the order of first use.
        problem: why there are none: one line, "" while the images are there.
    """

    def __init__(self, display: Display) -> None:
        self.pictures: list[str] = []
        self.problem = ""
        self._display = display
        self._dataset: OpenedDataset | None = None
        self._known: dict[tuple[str, int], int | None] = {}

    def open(self, run: Run) -> None:
        """Open the dataset that ``run`` was made of, once; what hinders it becomes ``problem``."""
        if self._dataset is not None or self.problem:
            return
        from pydantic import ValidationError

        from oltr_cli.data.loading import open_dataset
        from oltr_cli.specs import DataSpec

        try:
            recipe = tomllib.loads((run.path / "recipe.toml").read_text(encoding="utf-8"))
            spec = DataSpec.model_validate(recipe["data"])
            with self._display.bar("opening the dataset", 1) as bar:
                self._dataset = open_dataset(spec, bar.reached, only=("train", "test", "open"))
        except OltrError as problem:
            self.problem = str(problem).partition("\n")[0]
        except (OSError, ValueError, KeyError, ValidationError):
            self.problem = f"{run.name}: its recipe.toml does not say where the images are"

    def places(self, split: str, scores: SavedScores, where: str) -> NDArray[np.int64] | None:
        """Where the samples of ``scores`` (N,) stand in the split now; None when its images cannot be told."""
        if self._dataset is None or split not in self._dataset.splits:
            return None
        from oltr_cli.figures.networks import places

        try:
            return places(scores, self._dataset.splits[split], where)
        except DataProblem as problem:
            self.problem = str(problem)
            return None

    def picture(self, split: str, place: int) -> int | None:
        """Number of the thumbnail of an image; None when it cannot be decoded."""
        if (split, place) not in self._known:
            from oltr_cli.contact_sheet import fit

            assert self._dataset is not None
            try:
                image = fit(self._dataset.splits[split].image(place).numpy(), SIDE)
            except DataProblem:
                self._known[split, place] = None
            else:
                file = io.BytesIO()
                image.save(file, "JPEG", quality=QUALITY, optimize=True)
                self.pictures.append("data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode())
                self._known[split, place] = len(self.pictures) - 1
        return self._known[split, place]


def gallery(run: Run, found: Found, album: Album) -> dict[str, list[dict[str, Any]]]:
    """Kind → the samples as the page shows them: picture, confidence, true and predicted class (−1 = open), name."""
    album.open(run)
    shown: dict[str, list[dict[str, Any]]] = {}
    for kind, (split, scores, rows) in found.items():
        places = album.places(split, scores, str(run.scores(split)))
        shown[kind] = [
            {
                "picture": None if places is None else album.picture(split, int(places[row])),
                "confidence": float(str(scores.confidence[row])),
                "true": int(scores.labels[row]) if split == "test" else -1,
                "said": int(scores.prediction[row]),
                "name": "" if scores.paths is None else str(scores.paths[row]),
            }
            for row in rows.tolist()
        ]
    return shown
