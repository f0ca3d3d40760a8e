"""What a study writes for people: best.toml and pictures in its folder, written again whenever it is shown."""

from collections.abc import Callable
from pathlib import Path

from oltr_cli.errors import OltrError
from oltr_cli.tuning.best import write_best
from oltr_cli.tuning.study import Study


def record(study: Study, warn: Callable[[str], None]) -> list[Path]:
    """Write best.toml, history.png and a slice-KEY.png for each tuned key; none before a trial has finished.

    Pictures that cannot be drawn give a warning.
    """
    if study.best() is None:
        return []
    files = [write_best(study)]
    from oltr_cli.tuning.pictures import save_pictures

    try:
        return files + save_pictures(study)
    except (OltrError, OSError, ValueError) as error:
        warn(f"pictures of {study.name} were not drawn: {error}")
        return files
