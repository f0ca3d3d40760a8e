"""Hostile command lines and damaged files, drawn from a seed; and kills at random moments.

A short round is part of the suite. By hand: ``python -m tests.fuzz --rounds 2000 --seed 1`` and
``python -m tests.fuzz.kills --kills 60``; ``python -m tests.fuzz.mlflow_starts`` kills MLflow's first start.
"""
