"""MLflow: a mirror of runs; the files in the runs folder are authoritative."""
