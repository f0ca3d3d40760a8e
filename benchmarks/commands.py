"""Commands that compute nothing, as whole processes, against importing torch and torchvision.

``oltr compare`` reads finished runs, ``show`` a method's parameters, ``run --dry-run`` plans; none imports torch. The
last two lines compare the time to a run's first step with a script that imports torch, builds the same network and
steps once.
"""

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import _measure

IMPORTS = ["-c", "import torch, torchvision"]
COMMANDS = {
    "compare": ["-m", "oltr_cli", "compare", "--table", "3a", "--dataset", "glyphs-lt"],
    "show dme": ["-m", "oltr_cli", "show", "dme"],
    "run dme --dry-run": ["-m", "oltr_cli", "run", "dme", "--dry-run"],
    "ls runs": ["-m", "oltr_cli", "ls", "runs"],
}
# One step of the built-in recipe's network; then the process ends.
BARE = """
import torch, torchvision
network = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=80)
optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
images, labels = torch.randn(128, 3, 32, 32), torch.randint(80, (128,))
torch.nn.functional.cross_entropy(network(images), labels).backward()
optimizer.step()
"""
FIRST = """
import sys
from oltr_cli.training import engine
step = engine.Training.step
def once(self, *arguments):
    step(self, *arguments)
    import os
    os._exit(0)
engine.Training.step = once
sys.argv = ["oltr", "run", "plain", "--quiet", "--no-track"]
from oltr_cli.app import main
main()
"""


def call(arguments: list[str], environment: dict[str, str]) -> None:
    """One call of this Python, from its start to its end."""
    subprocess.run(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        check=True,
    )


def main() -> None:
    options = _measure.parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        environment = {**os.environ, "OLTR_RUNS": str(runs), "OLTR_TRACKING": "off", "XDG_CACHE_HOME": folder}
        tiny = ["backbone.width=4", *_measure.TINY_SETS] if options.quick else []
        small = [word for one in tiny for word in ("--set", one)]
        call(["-m", "oltr_cli", "run", "plain", "--set", "train.epochs=1", *small, "--quiet"], environment)
        forms = {"import torch": IMPORTS, **COMMANDS}
        if not options.quick:
            forms |= {"bare first step": ["-c", BARE], "run plain, first step": ["-c", FIRST]}
        median = _measure.medians(
            {name: partial(call, words, environment) for name, words in forms.items()}, options.repetitions
        )
        assert json.loads(next(runs.glob("*/*/*/result.json")).read_text())["status"] == "done"
    ratio = {f"{name} / import torch": median[name] / median["import torch"] for name in COMMANDS}
    if not options.quick:
        ratio["first step / bare"] = median["run plain, first step"] / median["bare first step"]
    _measure.report(options, "commands", {"commands": len(COMMANDS)}, median, ratio, ("torch", "torchvision", "typer"))


if __name__ == "__main__":
    main()
