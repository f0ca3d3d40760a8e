"""How the campaigns that are started by hand tell what they find."""

import sys
from collections.abc import Iterable
from typing import NoReturn


def tell(lines: Iterable[str], what: str) -> NoReturn:
    """Print each line as it comes, then how many have a fault after ": ", and leave with exit code 1 if any has."""
    found = 0
    for said in lines:
        found += ": " in said
        print(said, flush=True)
    print(f"{what}: {found} faults")
    sys.exit(1 if found else 0)
