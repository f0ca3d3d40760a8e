"""The run directory: its folder, result, scores, checkpoints and history."""
