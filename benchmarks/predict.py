"""``oltr predict`` on files of 64 px against the loop written by hand: Pillow, torchvision's transforms, model.

Whole processes, both measured from the end of their second batch to that of the last, so that importing torch does not
count. The loop has the same network and weights and all threads, decodes between batches, knows neither broken files
nor τ, and prints no rows. The weights are random, the photographs drawn.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _measure
import _photographs

BATCH = 64
SKIPPED = 2 * BATCH  # images; two batches are judged at once, and the first rows come with both
RECIPE = """
[data]
name = "drawn"
root = "{folder}"
image_size = {side}
eval_resize = {side}
[backbone]
name = "resnet10"
[stage1]
epochs = 1
batch_size = 16
lr = {{ features = 1e-6, classifier = 1e-6 }}
"""
# Prints the seconds from the end of its second batch to the end of the last one.
BY_HAND = """
import sys, time
from pathlib import Path
import torch
from PIL import Image
from torchvision.transforms import v2
from oltr_cli.inference.recogniser import Recogniser
run, folder, side, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads({threads})
network = Recogniser.load(run).network
transform = v2.Compose([
    v2.PILToTensor(), v2.Resize(side), v2.CenterCrop(side), v2.ToDtype(torch.float32, scale=True),
    v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
])
files = sorted(Path(folder).iterdir())
with torch.inference_mode():
    for first in range(0, len(files), batch):
        images = [transform(Image.open(file).convert("RGB")) for file in files[first : first + batch]]
        network(torch.stack(images)).logits.softmax(1).max(1)
        if first == batch:
            start = time.monotonic()
print(time.monotonic() - start)
"""


def main() -> None:
    options = _measure.parser(__doc__).parse_args()
    images, side = (4 * BATCH, 16) if options.quick else (2048 + SKIPPED, 64)
    seconds: dict[str, list[float]] = {"predict": [], "by hand": []}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "OLTR_RUNS": f"{folder}/runs", "OLTR_CACHE": f"{folder}/cache"}
        environment |= {"OLTR_TRACKING": "off"}
        run, photographs = make_run(Path(folder), images, side, environment)
        forms = {
            "predict": lambda: predicting(run, photographs, environment),
            "by hand": lambda: by_hand(run, photographs, side, environment),
        }
        for repetition in range(0 if options.quick else -1, options.repetitions):
            for name, form in forms.items():
                took = form()
                if repetition >= 0:
                    seconds[name].append(took)
    median = {name: statistics.median(taken) for name, taken in seconds.items()}
    speed = {f"images/s, {name}": round((images - SKIPPED) / taken) for name, taken in median.items()}
    ratio = {"by hand / predict": median["by hand"] / median["predict"]}
    sizes = {"images": images, "px": side}
    _measure.report(options, "predict", sizes, median, ratio, ("torch", "torchvision", "pillow"), **speed)


def make_run(folder: Path, images: int, side: int, environment: dict[str, str]) -> tuple[str, Path]:
    """The folder of a finished run, and one with the images."""
    _photographs.draw_photographs(folder / "drawn", 64, side, side)
    _photographs.draw_photographs(folder / "more", images, side, side)
    recipe = folder / "drawn.toml"
    recipe.write_text(RECIPE.format(folder=folder / "drawn", side=side))
    words = ["run", "plain", "--recipe", recipe, "--quiet", "--workers", "0", "--device", "cpu"]
    subprocess.run([sys.executable, "-m", "oltr_cli", *words], env=environment, check=True, stdout=subprocess.DEVNULL)
    (result,) = (folder / "runs").glob("*/*/*/result.json")
    return str(result.parent), folder / "more" / "train"


def predicting(run: str, photographs: Path, environment: dict[str, str]) -> float:
    """Seconds from the last row of the second batch to the last of all."""
    words = ["predict", run, photographs, "--format", "csv", "--quiet", "--device", "cpu", "--batch-size", str(BATCH)]
    command = [sys.executable, "-m", "oltr_cli", *map(str, words)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        start = last = 0.0
        for number, _ in enumerate(process.stdout):  # row 0 has the columns' names
            last = time.monotonic()
            if number == SKIPPED:
                start = last
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return last - start


def by_hand(run: str, photographs: Path, side: int, environment: dict[str, str]) -> float:
    """Seconds of the loop, as of ``predicting``."""
    code = BY_HAND.format(threads=_measure.THREADS)
    command = [sys.executable, "-c", code, run, str(photographs), str(side), str(BATCH)]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
