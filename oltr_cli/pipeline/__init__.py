"""From a plan to finished runs: train, detect, score, record."""
