"""A table whose runs are made two at once, as jobs, against the same command one after another.

``oltr compare --table 3a --run --dataset glyphs-lt`` with and without ``--launcher local:2``, each in a fresh runs
folder, with one thread each. Each is made once, because the whole table takes hours: ``--methods plain,crt,dme`` makes
some rows, ``--epochs N`` cuts every training short. The results of both have to be the same.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import _measure
import tomli_w

QUICK = "plain"
JOBS = ("--launcher", "local:2")


def recipe(folder: Path, epochs: int | None, quick: bool) -> Path:
    """The built-in recipe with fewer epochs; if ``quick``, with fewer images and a narrow network."""
    content: dict[str, Any] = tomllib.loads(
        (Path(__file__).parents[1] / "recipes" / "glyphs-lt.toml").read_text("utf-8")
    )
    for stage in ("stage1", "stage2"):
        content[stage]["epochs"] = min(content[stage]["epochs"], epochs or 1000)
    if quick:
        content["backbone"]["width"] = 4
        content["data"]["glyphs"] = _measure.TINY_GLYPHS
    file = folder / "glyphs-lt.toml"
    file.write_text(tomli_w.dumps(content))
    return file


def made(options: list[str], runs: Path, home: Path) -> tuple[float, dict[str, Any]]:
    """Seconds, and what the table shows of each row."""
    environment = {**os.environ, "OLTR_RUNS": str(runs), "OLTR_TRACKING": "off", "XDG_CACHE_HOME": str(home)}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "oltr_cli", "compare", "--table", "3a", "--run", "--device", "cpu", "--json", *options],
        env={**environment, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=None if "--verbose" in sys.argv else subprocess.DEVNULL,
        check=True,
    )
    taken = time.perf_counter() - began
    return taken, {row["key"]: row["cells"] for row in json.loads(done.stdout)["rows"]}


def main() -> None:
    parser = _measure.parser(__doc__)
    parser.add_argument("--methods", help="rows; default all")
    parser.add_argument("--epochs", type=int, help="of each training, at most")
    parser.add_argument("--verbose", action="store_true", help="show what the commands print")
    options = parser.parse_args()
    options.repetitions = 1
    methods = options.methods or (QUICK if options.quick else None)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        file = recipe(home, 1 if options.quick else options.epochs, options.quick)
        words = ["--recipe", str(file), *(["--methods", methods] if methods else [])]
        # The dataset is drawn, and everything is read from the disk once, before the first of the two.
        if not options.quick:
            made([*words[:2], "--methods", "plain"], home / "first", home)
        median, tables = {}, {}
        for name, more in {"one after another": [], "local:2": [*JOBS]}.items():
            median[name], tables[name] = made([*words, *more], home / name.replace(":", "-"), home)
    assert tables["local:2"] == tables["one after another"], "the results differ"
    ratio = {"local:2 / one after another": median["local:2"] / median["one after another"]}
    sizes = {"rows": len(tables["local:2"]), "jobs at once": 2}
    _measure.report(options, "launcher", sizes, median, ratio, ("torch", "submitit"), results="equal")


if __name__ == "__main__":
    main()
