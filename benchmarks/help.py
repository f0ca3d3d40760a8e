"""`oltr --help` against a bare Typer app with one command and rich help: wall time of whole processes, in turn.

python benchmarks/help.py               median of 15 calls of each, and the ratio, which is to stay below 1.6
python benchmarks/help.py --calls 31
python benchmarks/help.py --json        one line of JSON
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version

BARE = '''
import typer
app = typer.Typer(rich_markup_mode="rich")
@app.command()
def greet(name: str, loud: bool = False) -> None:
    """Say hello."""
app()
'''
COMMANDS = {
    "bare": ["-c", BARE, "--help"],
    "oltr --help": ["-m", "oltr_cli", "--help"],
    "oltr run --help": ["-m", "oltr_cli", "run", "--help"],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one call of this Python, from its start to its end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=15, help="calls of each")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for arguments in COMMANDS.values():  # the first call writes byte code and fills the cache of files
        seconds(arguments)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(options.calls):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    facts = {
        "calls": options.calls,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "typer": version("typer"),
        "rich": version("rich"),
        "milliseconds": {name: round(1000 * median, 1) for name, median in medians.items()},
        "ratio": {name: round(median / medians["bare"], 2) for name, median in medians.items()},
    }
    if options.json:
        print(json.dumps(facts))
        return
    print(f"median of {options.calls} calls, {facts['cores']} cores, Python {facts['python']}, Typer {facts['typer']}")
    for name, median in medians.items():
        print(f"  {name:16} {1000 * median:6.0f} ms  {median / medians['bare']:5.2f} ×")


if __name__ == "__main__":
    main()
