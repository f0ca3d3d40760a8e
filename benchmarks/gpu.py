"""Training on a GPU: what feeding it costs, against the model alone, and against decoding files.

One self-contained script: it draws its JPEG files, builds its store and prints the whole table in less than eight
minutes. It needs this repository, torch and torchvision, and neither MLflow, Optuna nor libmr. Without a GPU it runs
with tiny sizes on the CPU, to see that it works.

    python benchmarks/gpu.py [--json]

``model`` steps on one batch that lies on the device, with nothing to feed. ``resident`` crops from a store in the
device's memory, ``streamed`` from pinned memory, ``files`` decodes JPEG with one process a core, as a run without a
store does. Every form is one epoch of the same length; images per second are of the median epoch.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _measure
import _photographs

ROOT = Path(__file__).resolve().parents[1]
RECIPE = """
[data]
name = "{name}"
root = "{folder}"
image_size = {side}
eval_resize = {resize}
[backbone]
name = "{backbone}"
[stage1]
epochs = 1000
batch_size = {batch}
lr = {{ features = 0.01, classifier = 0.01 }}
"""
# name: backbone, side of the crop, size of the files, distinct files, images an epoch, batch
FULL = {
    "ResNet-10, 224 px": ("resnet10", 224, (500, 375), 2048, 16384, 256),
    "ResNet-32, 32 px": ("resnet32", 32, (32, 32), 2048, 49152, 128),
}
TINY = {
    "ResNet-10, 224 px": ("resnet10", 32, (60, 45), 32, 32, 16),
    "ResNet-32, 32 px": ("resnet20", 16, (16, 16), 32, 32, 16),
}


def main() -> None:
    options = _measure.parser(__doc__).parse_args()
    began = time.monotonic()
    _measure.set_threads()
    sys.path.insert(0, str(ROOT))
    import oltr_cli

    if not (Path(oltr_cli.__path__[0]) / "methods").is_dir():  # a checkout that is not installed
        oltr_cli.__path__.append(str(ROOT))
    import torch

    gpu = torch.cuda.is_available()
    options.quick = options.quick or not gpu
    median: dict[str, float] = {}
    ratio: dict[str, float] = {}
    rates: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"OLTR_CACHE": f"{folder}/cache", "OLTR_RUNS": f"{folder}/runs", "OLTR_TRACKING": "off"}
        for name, (backbone, side, file_size, distinct, images, batch) in (TINY if options.quick else FULL).items():
            home = Path(folder) / backbone
            _photographs.draw_photographs(home, distinct, *file_size, repeats=images // distinct)
            recipe = Path(folder) / f"{backbone}.toml"
            resize = max(side, min(256, min(file_size)))
            recipe.write_text(
                RECIPE.format(name=backbone, folder=home, side=side, resize=resize, backbone=backbone, batch=batch)
            )
            store = [f"data.store_side={resize}"]
            forms = {
                "model": epoch(recipe, store, "model"),
                "resident": epoch(recipe, store, "resident"),
                "streamed": epoch(recipe, store, "streamed"),
            }
            found = _measure.medians(forms, options.repetitions)
            slow = epoch(recipe, [], "files")  # takes as long as all others together: timed once, after a warm-up
            found |= {"files": _once(slow) if gpu else _measure.medians({"files": slow}, options.repetitions)["files"]}
            median |= {f"{form}, {name}": seconds for form, seconds in found.items()}
            rates |= {f"{form}, {name}, images/s": round(images // batch * batch / s) for form, s in found.items()}
            for form in ("resident", "streamed"):
                ratio[f"model / {form}, {name}"] = found["model"] / found[form]
                ratio[f"files / {form}, {name}"] = found["files"] / found[form]
    device = torch.cuda.get_device_name() if gpu else "CPU, tiny sizes"
    facts = {"device": device, "loading processes": _measure.CORES, "seconds in all": round(time.monotonic() - began)}
    _measure.report(options, "gpu", {"networks": 2}, median, ratio, ("torch", "torchvision", "numpy"), **rates, **facts)


def epoch(recipe: Path, sets: list[str], form: str) -> Callable[[], Any]:
    """A function that trains one epoch and waits for the device."""
    import torch

    from oltr_cli.base.display import Display
    from oltr_cli.base.machine import make_accelerator
    from oltr_cli.data.feed.opening import open_dataset
    from oltr_cli.data.store.on_device import DeviceLoader
    from oltr_cli.data.store.split import StoredSplit, from_store
    from oltr_cli.planning.plan import plan
    from oltr_cli.training.engine import Training
    from oltr_cli.training.task import Task

    display, accelerator = Display(quiet=True), make_accelerator()
    device = accelerator.device
    seed = ("model", "resident", "streamed", "files").index(form)
    (planned,) = plan("plain", str(recipe), sets, seed)
    dataset = from_store(open_dataset(planned.link.recipe.data), display)
    task = Task(planned.run, planned.link, planned.cls, dataset, None, accelerator, _measure.CORES, display)
    training = Training(task)
    training.method.train()
    split, data = dataset.splits["train"], task.recipe.data
    if form != "files":
        assert isinstance(split, StoredSplit)
        resident = form != "streamed"
        training.feed.loader = DeviceLoader(  # type: ignore[attr-defined]
            split, data, task.recipe.train, seed, device, _measure.CORES, resident=resident
        )
    number = iter(range(10**6))
    batch = next(iter(training.feed.epoch(0, 0)))
    inputs = training.feed.inputs(batch, 0, 0)
    if form == "model":
        training.feed.inputs = lambda batch, epoch, step: inputs  # type: ignore[method-assign]

    def batches(epoch: int) -> Iterator[Any]:
        return iter([batch] * training.feed.steps) if form == "model" else training.feed.epoch(epoch, 0)

    def train() -> None:
        current = next(number)
        for step, one in enumerate(batches(current)):
            training.step(one, current, step)
        training.watch.look(current, training.feed.steps)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return train


def _once(form: Callable[[], Any]) -> float:
    form()
    began = time.perf_counter()
    form()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
