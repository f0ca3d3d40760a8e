"""`oltr --help` against a bare Typer app with one command and rich help: wall time of whole processes, in turn.

python benchmarks/help.py    the ratio is to stay below 1.6
"""

import subprocess
import sys
from functools import partial

import _measure

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


def call(arguments: list[str]) -> None:
    """One call of this Python, from its start to its end."""
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    options = _measure.parser(__doc__).parse_args()
    commands = dict(list(COMMANDS.items())[:2]) if options.quick else COMMANDS
    # The first call of each, which is not counted, writes byte code and fills the cache of files.
    median = _measure.medians({name: partial(call, words) for name, words in commands.items()}, options.repetitions)
    ratio = {f"{name} / bare": seconds / median["bare"] for name, seconds in median.items() if name != "bare"}
    _measure.report(options, "help", {"commands": len(commands)}, median, ratio, ("typer", "rich"))


if __name__ == "__main__":
    main()
