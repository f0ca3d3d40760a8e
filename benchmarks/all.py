"""Run all benchmarks one after the other, and write their numbers and the machine's description to one file.

python benchmarks/all.py                      every benchmark of speed; writes results/benchmarks.json
python benchmarks/all.py --only dme_head      one of them, to the screen; --out FILE writes a file
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import _measure

HERE = Path(__file__).parent
SCRIPTS = {p.stem: p for p in sorted(HERE.glob("*.py")) if not p.stem.startswith("_") and p.stem != "all"}

# active trains networks, and measures what labels are worth rather than time; launcher makes tables, for hours.
APART = {"active", "launcher"}


def machine() -> dict[str, Any]:
    """What decides how long things take; neither the machine's name nor any path."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.machine()
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        system = f"{platform.system()} {platform.mac_ver()[0]}".strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    facts = {"cpu": cpu, "cores": _measure.CORES, "memory GiB": round(memory, 1), "system": system}
    # Above 0 on a machine that does something else too: its ratios still hold, its times are too long.
    return facts | {"load before": round(load, 2), "versions": _measure.versions("numpy", "torch")}


def main() -> None:
    parser = _measure.parser(__doc__)
    parser.add_argument("--only", action="append", choices=SCRIPTS, help="this benchmark; may be repeated")
    parser.add_argument("--out", type=Path, help="file to write (default with all: results/benchmarks.json)")
    options = parser.parse_args()
    out = options.out or (None if options.only or options.quick else HERE.parent / "results" / "benchmarks.json")
    words = ["--quick"] if options.quick else ["--repetitions", str(options.repetitions)]
    found: dict[str, Any] = {"machine": machine(), "failed": [], "benchmarks": []}
    for name in options.only or (script for script in SCRIPTS if script not in APART):
        print(name, file=sys.stderr)
        done = subprocess.run([sys.executable, SCRIPTS[name], "--json", *words], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            found["failed"].append(name)
        else:
            found["benchmarks"].append(json.loads(done.stdout))
    if out is None or options.json:
        print(json.dumps(found))
    if out is not None:
        out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if found["failed"]:
        sys.exit(f"failed: {', '.join(found['failed'])}; what is wrong stands above")


if __name__ == "__main__":
    main()
