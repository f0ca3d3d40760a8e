"""What a finished run has to say: result.json, and the threshold that was tuned for it."""

import math
from pathlib import Path
from typing import Any

from oltr_cli.base.files import read_json
from oltr_cli.errors import DataProblem
from oltr_cli.runs.folder import Run


def finished(run: Run) -> dict[str, Any] | None:
    """The result of a run that is done, else None."""
    result = run.result()
    return result if result is not None and result.get("status") == "done" else None


def read_tuned(run_dir: Path) -> tuple[float | None, str | None]:
    """τ and the rule that chose it, as ``oltr tune threshold`` saved them; None, None when it did not."""
    path = run_dir / "threshold.json"
    if not path.exists():
        return None, None
    saved = read_json(path)
    value = saved.get("value") if isinstance(saved, dict) else None
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise DataProblem(f"{path}: holds no threshold; `oltr tune threshold` writes it anew")
    return float(value), str(saved.get("rule"))
