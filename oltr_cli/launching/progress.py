"""What a job writes about itself, for those who wait for it."""

from dataclasses import asdict, dataclass
from pathlib import Path

from oltr_cli.base.files import write_json
from oltr_cli.errors import OltrError

PROGRESS = "progress.json"


@dataclass(frozen=True)
class Ended:
    """How a job's command ended: exit code (negative: by a signal), what that means, seconds since 1970."""

    code: int
    reason: str
    at: float


def as_ended(found: object) -> Ended | None:
    """What a job wrote of its end, if it has written that and it can be read."""
    if not isinstance(found, dict) or set(found) != {"code", "reason", "at"}:
        return None
    ended = Ended(**found)
    return ended if isinstance(ended.code, int) and isinstance(ended.reason, str) else None


def write_progress(folder: Path, job: str, *, host: str, pid: int = 0, ended: Ended | None = None) -> None:
    """Say where the job runs, and how it ended. A full disk does not end it: then it is known by its process alone."""
    content = {"job": job, "host": host, "pid": pid, "ended": asdict(ended) if ended else None}
    try:
        write_json(folder / PROGRESS, content)
    except OltrError as error:
        print(f"warning: {error}", flush=True)
