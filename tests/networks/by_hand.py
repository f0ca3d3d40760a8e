"""Models of timm by name through training, resumption, prediction and export: what a release of timm can break.

``python -m tests.networks.by_hand`` takes ten minutes on one core; names of models as arguments try those alone. Each
model has random weights and takes two steps on the tiny dataset, once whole and once killed after its first epoch.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from oltr_cli.base.display import Display
from oltr_cli.data.feed.transforms import evaluation_crop
from oltr_cli.data.images import decode_file
from oltr_cli.errors import OltrError
from oltr_cli.inference.export import export_run
from oltr_cli.inference.hub_folder import export_folder
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.pipeline.make import run_method
from oltr_cli.runs.folder import Run, run_from_path
from oltr_cli.runs.scores import SavedScores
from oltr_cli.training import engine
from tests.helpers.finished_runs import environment
from tests.helpers.outcomes import assert_equal, outcome_of
from tests.helpers.tiny import TINY_RECIPE, make_tiny_dataset

# Name → image size: the model's own where it takes no other. Small ones of each family.
MODELS = {
    "test_efficientnet": 32,
    "test_convnext": 32,
    "test_resnet": 32,
    "resnet18": 32,
    "mobilenetv3_small_050": 32,  # the head is wider than num_features
    "efficientnet_lite0": 32,
    "regnetx_002": 32,
    "convnext_atto": 32,
    "ghostnet_050": 32,
    "test_vit": 32,
    "test_vit2": 32,
    "test_vit4": 32,
    "vit_tiny_patch16_224": 32,
    "vit_small_patch14_reg4_dinov2": 28,  # register tokens
    "deit_tiny_distilled_patch16_224": 224,  # a distillation token
    "levit_128s": 224,  # a hybrid; two heads
    "mobilevit_xxs": 64,  # a hybrid
    "xcit_nano_12_p16_224": 64,
    "gmixer_24_224": 224,  # only MLPs
    "poolformer_s12": 64,
}
EPOCHS = 2


class Killed(BaseException):
    """In the place of SIGKILL."""


def main(names: list[str]) -> int:
    """Try the models of these names, or all of ``MODELS``; 1 if one fails."""
    failed = []
    for name in names or MODELS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                try_model(name, Path(folder))
                said = "ok"
            except Exception as error:
                failed.append(name)
                said = f"FAILED: {type(error).__name__}: {str(error).strip()[:300]}"
        print(f"{name:<36} {time.monotonic() - began:5.0f} s  {said}", flush=True)
    print(f"{len(failed)} failed" + (f": {' '.join(failed)}" if failed else ""))
    return int(bool(failed))


def try_model(name: str, home: Path) -> None:
    """Train, resume, score, export; an AssertionError or OltrError says what is wrong."""
    patch = environment(home)
    try:
        make_tiny_dataset(home / "data" / "tiny")
        whole = _run(name, home, home / "runs")
        _same_when_killed(name, home, whole)
        recogniser = Recogniser.load(whole.path)
        saved = SavedScores.load(whole.scores("test"))
        assert saved.paths is not None
        assert saved.logits is not None
        files = [home / "data" / "tiny" / path for path in saved.paths]
        crops = torch.stack([evaluation_crop(decode_file(file), recogniser.recipe.data) for file in files])
        logits = recogniser.scores(crops).logits
        assert logits is not None
        np.testing.assert_allclose(logits, saved.logits, rtol=1e-4, atol=1e-4, err_msg="prediction")
        export_folder(recogniser, home / "hub", Display(True))
        export_run(Recogniser.load(whole.path), "torch", home / "model.pt2", Display(True))
    finally:
        patch.undo()


def _same_when_killed(name: str, home: Path, whole: Run) -> None:
    save = engine.Training._save_last

    def then_die(training: engine.Training) -> None:
        save(training)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OLTR_RUNS", str(home / "again"))
        patch.setattr(engine.Training, "_save_last", then_die)
        try:
            _run(name, home, home / "again")
        except Killed:
            patch.setattr(engine.Training, "_save_last", save)
        assert_equal(outcome_of(_run(name, home, home / "again").path), outcome_of(whole.path))


def _run(name: str, home: Path, runs: Path) -> Run:
    recipe, size = home / "tiny.toml", MODELS.get(name, 224)
    recipe.write_text(TINY_RECIPE.replace('stem = "small-stride2"\nwidth = 8\n', ""))
    sets = [f"backbone.name=timm/{name}", f"data.image_size={size}", f"data.eval_resize={size}"]
    # One step an epoch: 45 training images, rounded down.
    sets += [f"train.epochs={EPOCHS}", "train.batch_size=40", "train.lr.features=0.001"]
    done = run_method("plain", str(recipe), sets, device="cpu", workers=0, track=False, display=Display(True))
    run = run_from_path(runs / done.run)
    if run is None:
        raise OltrError(f"{done.run} is no run")
    return run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
