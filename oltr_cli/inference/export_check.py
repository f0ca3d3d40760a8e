"""Compares an exported file with the scores that were saved for the run, on test images of its dataset."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oltr_cli.data.feed.loading import evaluation_batches
from oltr_cli.data.feed.opening import open_dataset, other_lists
from oltr_cli.errors import OltrError
from oltr_cli.inference.export_formats import Answer
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.runs.scores import SavedScores

SAMPLE = 8  # test images
# By the precision that the run was scored in: how far a logit may be from the saved one.
BOUNDS = {"float32": 0.02, "bf16": 0.5}


@dataclass(frozen=True)
class SavedSample:
    """The first test images as the network takes them, uint8 (N, 3, S, S), and their saved logits (N, K)."""

    images: NDArray[np.uint8]
    logits: NDArray[np.floating]
    bound: float

    def check(self, answer: Answer, name: str) -> float:
        """The largest absolute difference from the saved logits.

        Raises:
            OltrError: it is above the bound, or not a number.
        """
        difference = float(np.abs(answer(self.images)["logits"] - self.logits).max())
        if not difference <= self.bound:
            raise OltrError(
                f"{name}: on its test images the logits of the file differ from the saved ones by {difference:.3g}, "
                f"more than {self.bound:g}; not written. Is {name}/best.pt the one it was scored with?"
            )
        return difference


def saved_sample(recogniser: Recogniser) -> SavedSample | None:
    """Test images of the run's dataset with their saved scores; None where the images or scores are not there.

    Raises:
        DataProblem: environment.json, which says in what precision they were made, is damaged.
    """
    base, spec = recogniser.base, recogniser.recipe.data
    precision = base.environment().get("precision")
    try:
        saved = SavedScores.load(base.scores("test"))
        digest = recogniser.result.data_digest
        if digest is None or saved.logits is None or other_lists(spec, digest) is not None:
            return None
        dataset = open_dataset(spec, only=("train", "test"))
        if spec.kind == "glyphs" and dataset.digest != digest:  # lists of files were compared above
            return None
        images = next(iter(evaluation_batches(dataset.splits["test"], spec, SAMPLE, 0))).images
    except OltrError:  # the file can be made all the same
        return None
    logits = np.asarray(saved.logits[: len(images)], np.float32)
    # Grey images, as the built-in dataset draws them, become RGB inside of the run's transform.
    return SavedSample(
        images.expand(-1, 3, -1, -1).contiguous().numpy(), logits, BOUNDS.get(str(precision), BOUNDS["bf16"])
    )
