"""A run's epoch from the pixel store against the same steps on tensors that lie in memory: what feeding costs.

ResNet-10, plain, on JPEG files of 64 × 64 (at 64 px) and 500 × 375 (at 224 px), with the loading processes that
``oltr run`` starts. ``files`` decodes them, as a run without a store does.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _measure
import _photographs

RECIPE = """
[data]
name = "drawn{side}"
root = "{folder}"
image_size = {side}
eval_resize = {resize}
crop_scale = [0.35, 1.0]
[stage1]
epochs = 1000
batch_size = {batch}
lr = {{ features = 0.01, classifier = 0.01 }}
"""
# Side of the crop, size of the files, steps and batch.
SIZES = {"64 px": (64, (64, 64), 16, 64), "224 px": (224, (500, 375), 4, 32)}


def main() -> None:
    options = _measure.parser(__doc__).parse_args()
    _measure.set_threads()
    median: dict[str, float] = {}
    ratio: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"OLTR_CACHE": f"{folder}/cache", "OLTR_RUNS": f"{folder}/runs", "OLTR_TRACKING": "off"}
        for name, (side, file_size, steps, batch) in list(SIZES.items())[: 1 if options.quick else 2]:
            steps, batch = (2, 8) if options.quick else (steps, batch)
            _photographs.draw_photographs(Path(folder) / name, steps * batch, *file_size)
            recipe = Path(folder) / f"{side}.toml"
            resize = side * 8 // 7 if side > 64 else side
            recipe.write_text(RECIPE.format(side=side, folder=Path(folder) / name, batch=batch, resize=resize))
            forms = {
                "files": epochs(recipe, []),
                "store": epochs(recipe, [f"data.store_side={resize}"]),
                "resident": epochs(recipe, [f"data.store_side={resize}"], resident=True),
            }
            found = _measure.medians(forms, options.repetitions)
            median |= {f"{form}, {name}": seconds / steps for form, seconds in found.items()}
            ratio |= {f"resident / {form}, {name}": found["resident"] / found[form] for form in ("files", "store")}
    _measure.report(options, "training", {"forms": 3}, median, ratio, ("torch", "torchvision"))


def epochs(recipe: Path, sets: list[str], resident: bool = False) -> Callable[[], Any]:
    """A function that trains one epoch, without validation; ``resident``: on one batch that is on the device."""
    from oltr_cli.base.display import Display
    from oltr_cli.base.machine import default_workers, make_accelerator
    from oltr_cli.data.feed.opening import open_dataset
    from oltr_cli.data.store.split import from_store
    from oltr_cli.planning.plan import plan
    from oltr_cli.training.engine import Training
    from oltr_cli.training.task import Task

    display = Display(quiet=True)
    (planned,) = plan("plain", str(recipe), sets, int(resident))
    dataset = from_store(open_dataset(planned.link.recipe.data), display)
    accelerator = make_accelerator()
    task = Task(planned.run, planned.link, planned.cls, dataset, None, accelerator, default_workers(), display)
    training = Training(task)
    training.method.train()
    number = iter(range(10**6))
    if resident:
        batch = next(iter(training.feed.epoch(0, 0)))
        inputs = training.feed.inputs(batch, 0, 0)
        training.feed.inputs = lambda batch, epoch, step: inputs.clone()  # type: ignore[method-assign]

    def batches(epoch: int) -> Iterator[Any]:
        return iter([batch] * training.feed.steps) if resident else training.feed.epoch(epoch, 0)

    def train() -> None:
        epoch = next(number)
        for step, one in enumerate(batches(epoch)):
            training.step(one, epoch, step)

    return train


if __name__ == "__main__":
    main()
