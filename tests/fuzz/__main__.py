"""``python -m tests.fuzz --rounds 2000 --seed 1``: a long round; exits with 1 where it found something."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.rounds import campaign, flips


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--flips", type=int, default=100, help="single flipped bits in the files of runs")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        for fault in campaign(Path(folder) / "rounds", options.rounds, options.seed):
            found += 1
            print(fault, flush=True)
        for fault in flips(Path(folder) / "flips", options.flips, options.seed):
            found += 1
            print(fault, flush=True)
    print(f"{options.rounds} rounds and {options.flips} flips of seed {options.seed}: {found} faults")
    sys.exit(1 if found else 0)


main()
