"""Training batches of 224 px from full-size JPEG files (500 × 375): decoded and cropped, and from the pixel store.

Images per second of one core, in one process without workers, so that nothing else counts: ``files`` is what a run
without a store does, ``store`` crops 256 px images from a memory-mapped store. (On a GPU the crop runs on the device;
benchmarks/gpu.py measures it.)
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # a core's rate

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _measure
import _photographs


def main() -> None:
    options = _measure.parser(__doc__).parse_args()
    _measure.set_threads()
    from oltr_cli.base.display import Display
    from oltr_cli.data.feed.loading import TrainingLoader
    from oltr_cli.data.feed.opening import open_dataset
    from oltr_cli.data.store.split import from_store
    from oltr_cli.recipe.data import DataSpec
    from oltr_cli.recipe.train import TrainSpec

    images, batch = (64, 16) if options.quick else (768, 128)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OLTR_CACHE"] = str(Path(folder) / "cache")
        _photographs.draw_photographs(Path(folder), images)
        spec = DataSpec(name="drawn", root=folder)
        stored = spec.model_copy(update={"store_side": 256})
        train = TrainSpec(batch_size=batch)
        quiet = Display(quiet=True)
        split = from_store(open_dataset(stored), quiet).splits["train"]
        loaders: dict[str, Any] = {
            "files": TrainingLoader(open_dataset(spec).splits["train"], spec, train, 0, 0),
            "store": TrainingLoader(split, stored, train, 0, 0),
        }
        streams = {name: _endless(loader) for name, loader in loaders.items()}
        forms = {name: lambda stream=stream: next(stream) for name, stream in streams.items()}
        median = _measure.medians(forms, options.repetitions)
    rates = {f"{name}_images_per_second": round(batch / seconds) for name, seconds in median.items()}
    ratio = {"files / store": median["files"] / median["store"]}
    sizes = {"images": images, "batch": batch}
    _measure.report(options, "feed", sizes, median, ratio, ("numpy", "torch", "torchvision", "pillow"), **rates)


def _endless(loader: Any) -> Iterator[Any]:
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1


if __name__ == "__main__":
    main()
