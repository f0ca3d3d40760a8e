"""Runs as jobs: several at once on this machine, or on a cluster with SLURM, by submitit."""
