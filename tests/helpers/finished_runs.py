"""Real finished runs of the tiny dataset, made in this process, whose dataset then goes away."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from oltr_cli.base.display import Display
from oltr_cli.pipeline.make import run_method
from oltr_cli.runs.scores import SavedScores
from tests.helpers.tiny import TINY_RECIPE, make_tiny_dataset


@dataclass(frozen=True)
class FinishedRuns:
    """Runs below ``runs``; what was tiny's folder is now ``images``, without its lists."""

    runs: Path
    images: Path
    names: dict[str, str]  # method → name of its run

    def path(self, method: str) -> Path:
        return self.runs / self.names[method]

    def scores(self, method: str, split: str) -> SavedScores:
        return SavedScores.load(self.path(method) / "scores" / f"{split}.npz")

    def files(self, split: str) -> list[str]:
        """The files of a split, in the order of its saved scores."""
        paths = self.scores("plain", split).paths
        assert paths is not None
        return [str(self.images / name) for name in paths]


def make_finished_runs(home: Path, methods: dict[str, list[str]]) -> FinishedRuns:
    """Runs of ``methods`` (name → what it is given with --set); $OLTR_RUNS is to be ``home / "runs"`` already."""
    recipe = home / "tiny.toml"
    recipe.write_text(TINY_RECIPE)
    make_tiny_dataset(home / "data" / "tiny")
    names = {}
    for method, sets in methods.items():
        done = run_method(method, str(recipe), sets, device="cpu", workers=0, track=False, display=Display(quiet=True))
        names[method] = done.run
    images = home / "photographs"
    (home / "data" / "tiny").rename(images)
    for file in images.glob("*.txt"):
        file.unlink()
    return FinishedRuns(home / "runs", images, names)


@contextmanager
def vit_home(home: Path) -> Iterator[Path]:
    """``home`` with the tiny dataset, its recipe (tiny.toml), and one of timm's test_vit with weights (vit.toml)."""
    import timm  # an extra, and slow to import
    import torch

    patch = environment(home)
    make_tiny_dataset(home / "data" / "tiny")
    torch.manual_seed(5)
    torch.save(timm.create_model("test_vit").state_dict(), home / "vit.pt")
    (home / "tiny.toml").write_text(TINY_RECIPE)
    (home / "vit.toml").write_text(
        TINY_RECIPE.replace("= 16\n", "= 32\n").replace(
            'name = "resnet10"\nstem = "small-stride2"\nwidth = 8', f'name = "timm/test_vit"\nweights = "{home}/vit.pt"'
        )
    )
    yield home
    patch.undo()


def environment(home: Path) -> pytest.MonkeyPatch:
    """$OLTR_RUNS and $OLTR_DATA below ``home``, and runs without pictures, until it is undone."""
    patch = pytest.MonkeyPatch()
    patch.setenv("OLTR_RUNS", str(home / "runs"))
    patch.setenv("OLTR_DATA", str(home / "data"))
    patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    patch.setattr(
        "oltr_cli.drawing.run_plots.save_run_plots", lambda path: []
    )  # half of the time that a tiny run takes
    return patch


def tiny_home(tmp_path):
    """For a fixture: an environment of its own with the tiny dataset, and the recipe tiny.toml beside it."""
    patch = environment(tmp_path)
    make_tiny_dataset(tmp_path / "data" / "tiny")
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE)
    yield tmp_path
    patch.undo()
