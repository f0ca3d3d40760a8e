"""Keeping the features of a frozen backbone against the bare model of timm on the same batches in memory.

Random weights, photographs of 500 × 375 that the script draws, the loading processes that ``oltr run`` starts.
``store`` reads decoded pixels (``data.store_side``), normalises them and writes the features with digests. The bare
model gets normalised batches in the layout that timm's loader gives, and in the one in which convolutions are fastest.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _measure
import _photographs

# Of both forms: a run's 256 would make few batches of the images that there is time for. The start takes 0.3 s anyway.
BATCH = 64
RECIPE = """
[data]
name = "drawn"
root = "{folder}"
image_size = {side}
eval_resize = {resize}
[backbone]
name = "timm/{model}"
[train]
freeze_backbone = true
"""


def main() -> None:
    parser = _measure.parser(__doc__)
    parser.add_argument("--files", action="store_true", help="also without a store: decode the files")
    parser.add_argument("--model", help="of timm (default: mobilenetv2_100)")
    options = parser.parse_args()
    _measure.set_threads()
    model = options.model or ("test_efficientnet" if options.quick else "mobilenetv2_100")
    images, side = (16, 32) if options.quick else (1344, 128)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"OLTR_CACHE": f"{folder}/cache", "OLTR_RUNS": f"{folder}/runs", "OLTR_TRACKING": "off"}
        _photographs.draw_photographs(Path(folder) / "drawn", images)
        recipe = Path(folder) / "drawn.toml"
        resize = side * 8 // 7
        recipe.write_text(RECIPE.format(side=side, folder=Path(folder) / "drawn", resize=resize, model=model))
        ours = {"store": extraction(recipe, [f"data.store_side={resize}"])}
        if options.files:
            ours["files"] = extraction(recipe, [])
        median = _measure.medians({**ours, **bare_models(recipe, model)}, options.repetitions)
    ratio = {f"{bare} / {form}": median[bare] / median[form] for form in ours for bare in median if bare not in ours}
    speed = {f"images/s, {form}": round(images / seconds, 1) for form, seconds in median.items()}
    sizes = {"images": images, "px": side}
    _measure.report(options, "extraction", sizes, median, ratio, ("torch", "timm"), model=model, **speed)


def extraction(recipe: Path, sets: list[str]) -> Callable[[], Any]:
    """A function that computes and keeps the features of the training images, of which none are there before."""
    from oltr_cli.base.display import Display
    from oltr_cli.base.machine import default_workers, make_accelerator
    from oltr_cli.data.feed.opening import open_dataset
    from oltr_cli.data.store.features import find_features
    from oltr_cli.data.store.split import from_store
    from oltr_cli.planning.plan import plan
    from oltr_cli.training import frozen
    from oltr_cli.training.task import Task, build_method

    display = Display(quiet=True)
    (planned,) = plan("plain", str(recipe), sets, 0)
    dataset = from_store(open_dataset(planned.link.recipe.data), display)
    machine = (make_accelerator("cpu"), default_workers(), display)
    task = Task(planned.run, planned.link, planned.cls, dataset, None, *machine)
    method = build_method(task.cls, task.recipe, dataset.class_counts, 0)
    frozen.BATCH = BATCH

    def extract() -> None:
        for folder in find_features():
            shutil.rmtree(folder.path)
        frozen.frozen_features(task, method, "train")

    return extract


def bare_models(recipe: Path, name: str) -> dict[str, Callable[[], Any]]:
    """Functions that run the model of timm on all training images, which are in memory as it takes them."""
    import timm
    import torch

    from oltr_cli.data.feed.loading import evaluation_batches
    from oltr_cli.data.feed.opening import open_dataset
    from oltr_cli.data.feed.transforms import DeviceTransform
    from oltr_cli.planning.plan import plan

    spec = plan("plain", str(recipe), [], 0)[0].link.recipe.data
    transform = DeviceTransform(spec, torch.device("cpu"))
    train = open_dataset(spec).splits["train"]
    last = [transform.evaluate(batch.images) for batch in evaluation_batches(train, spec, BATCH, 0)]
    model = timm.create_model(name, num_classes=0).eval()
    model_last = timm.create_model(name, num_classes=0).eval().to(memory_format=torch.channels_last)

    def running(model: Any, batches: list[Any]) -> Callable[[], Any]:
        @torch.inference_mode()
        def run() -> None:
            for batch in batches:
                model(batch)

        return run

    return {
        "bare model": running(model, [batch.contiguous() for batch in last]),
        "bare model, channels last": running(model_last, last),
    }


if __name__ == "__main__":
    main()
