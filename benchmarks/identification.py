"""How long identification takes, and how much faster it is than a gallery for each pair, measured in one run.

    python benchmarks/identification.py [--probes 3530] [--distractors 200000] [--train 100000] [--dim 512]

Embeddings are random and lie as float16 in memory-mapped files, as those of a large set do. The naive form puts each
mate among all distractors and looks for the most similar, in NumPy, for a few pairs of the same data.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--probes", type=int, default=3530)
    parser.add_argument("--identities", type=int, default=80)
    parser.add_argument("--distractors", type=int, default=200_000)
    parser.add_argument("--train", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--naive-probes", type=int, default=5)
    options = parser.parse_args()
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
        began = time.perf_counter()
        found = identification(probe, identities, others["distractors"], others["train"])
        ours = time.perf_counter() - began
        pairs = found["counts"]["pairs"]["full"]
        whole = options.probes * options.distractors * 4 / 1024**2
        print(f"{options.probes:,} probes × {options.distractors:,} distractors × {options.train:,} training images")
        print(f"  embeddings of {options.dim} numbers, {pairs:,} pairs, {torch.get_num_threads()} threads")
        block = min(PROBE_BLOCK, options.probes) * OTHER_BLOCK * 4 / 1024**2
        print(f"  identification           {ours:10.2f} s, similarities {block:.0f} MiB at a time")
        print(f"  the matrix of all similarities to distractors alone would take {whole:,.0f} MiB")
        rows = options.distractors + options.train
        sizes = " + ".join(f"{n:,}" for n in FULL.values())
        print(f"  at the full size of {sizes}: {ours * sum(FULL.values()) / rows:.0f} s")

        few, distractors = probe[identities == 0][: options.naive_probes], np.array(others["distractors"], np.float32)
        began = time.perf_counter()
        expected = naive(few, distractors)
        slow = (time.perf_counter() - began) / (len(few) * (len(few) - 1))
        same = identification(few, np.zeros(len(few), np.int64), distractors, distractors[:1])["metrics"]
        if not np.isclose(same["identification/full"], expected):
            raise SystemExit(f"the rate {same['identification/full']} is not the loop's {expected}")
        print(
            f"  a gallery for each pair  {slow:10.2f} s a pair (equal rate, {expected:.2f}); "
            f"for all {pairs * slow / 3600:,.1f} h"
        )
        print(f"  ratio                    {pairs * slow / ours:10,.0f} ×")


if __name__ == "__main__":
    main()
