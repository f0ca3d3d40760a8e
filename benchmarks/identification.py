"""How long identification takes, and how much faster it is than a gallery for each pair.

    python benchmarks/identification.py [--probes 3530] [--distractors 50000] [--train 25000] [--dim 512]

Embeddings are random and lie as float16 in memory-mapped files, as those of a large set do. The naive form puts each
mate among all distractors and looks for the most similar, in NumPy, for a few pairs of the same data.
"""

import _measure  # before numpy and torch

# isort: split
import itertools
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oltr_cli.pipeline.embeddings import load_embeddings, save_embeddings
from oltr_cli.protocol.identification import OTHER_BLOCK, PROBE_BLOCK, identification

FULL = {"distractors": 1_000_000, "train": 887_500}  # MegaFace's, and MS1M-LT's training images


def naive(probe: NDArray[np.floating], distractors: NDArray[np.floating]) -> float:
    """Share of right ordered pairs of ``probe``, which are all of one identity: a gallery for each pair."""
    probe, distractors = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (probe, distractors))
    right = []
    for i, j in itertools.permutations(range(len(probe)), 2):
        gallery = np.concatenate([probe[j : j + 1], distractors])
        right.append((gallery @ probe[i]).argmax() == 0)
    return float(np.mean(right))


def main() -> None:
    parser = _measure.parser(__doc__)
    parser.add_argument("--probes", type=int, default=3530)
    parser.add_argument("--identities", type=int, default=80)
    parser.add_argument("--distractors", type=int, default=50_000)
    parser.add_argument("--train", type=int, default=25_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--naive-probes", type=int, default=3)
    options = parser.parse_args()
    _measure.set_threads()
    if options.quick:
        options.probes, options.identities, options.distractors, options.train, options.dim = 12, 3, 200, 100, 8
    rng = np.random.default_rng(0)
    identities = np.arange(options.probes) * options.identities // options.probes
    middles = rng.standard_normal((options.identities, options.dim), dtype=np.float32)
    # Mates about as similar as the nearest distractor, so that right and wrong pairs both occur.
    probe = 0.5 * middles[identities] + rng.standard_normal((options.probes, options.dim), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        others = {}
        for name in FULL:
            rows = rng.standard_normal((getattr(options, name), options.dim), dtype=np.float32).astype(np.float16)
            save_embeddings(Path(folder) / f"{name}.npy", rows)
            others[name] = load_embeddings(Path(folder) / f"{name}.npy")
        del rows
        run = partial(identification, probe, identities, others["distractors"], others["train"])
        few, distractors = probe[identities == 0][: options.naive_probes], np.array(others["distractors"], np.float32)
        same = identification(few, np.zeros(len(few), np.int64), distractors, distractors[:1])["metrics"]
        expected = naive(few, distractors)
        if not np.isclose(same["identification/full"], expected):
            raise SystemExit(f"the rate {same['identification/full']} is not the loop's {expected}")
        pairs = run()["counts"]["pairs"]["full"]
        naive_pairs = len(few) * (len(few) - 1)
        loop = f"a gallery for each of {naive_pairs} pairs"
        median = _measure.medians({"identification": run, loop: partial(naive, few, distractors)}, options.repetitions)
    seconds = median["identification"]
    rows = options.distractors + options.train
    block = min(PROBE_BLOCK, options.probes) * OTHER_BLOCK * 4 / 1024**2
    more = {
        "MiB of similarities at a time": round(block),
        "s at the full size, extrapolated": round(seconds * sum(FULL.values()) / rows),
    }
    ratio = {"a gallery for each pair / identification, by pair": median[loop] / naive_pairs * pairs / seconds}
    sizes = {name: getattr(options, name) for name in ("probes", "identities", "distractors", "train")}
    sizes |= {"dimensions": options.dim, "pairs": pairs}
    _measure.report(options, "identification", sizes, median, ratio, **more)


if __name__ == "__main__":
    main()
