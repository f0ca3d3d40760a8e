"""What is known of timm's models without importing torch: whether timm is installed, and the names of its models."""

import importlib.util
import re
from functools import lru_cache
from pathlib import Path

from oltr_cli.errors import UsageProblem, nearest

PREFIX = "timm/"
_NAMES = "https://huggingface.co/timm"
_BUILDER = re.compile(r"^@register_model\s+def (\w+)\(", re.MULTILINE)


def check_timm_name(name: str) -> None:
    """Check that timm is installed and has the model ``timm/NAME``; a tag after a dot is not looked at.

    Raises:
        UsageProblem: it is not, or has none of that name.
    """
    model, known = name.removeprefix(PREFIX).partition(".")[0], timm_models()
    if not known:
        raise UsageProblem(f"backbone '{name}' needs timm: pip install 'oltr[timm]'")
    if model not in known:
        hint = nearest(model, known) or f"; names: {_NAMES}"
        raise UsageProblem(f"timm has no model '{model}'{hint}")


@lru_cache(maxsize=1)
def timm_models() -> tuple[str, ...]:
    """The models of the installed timm by name, in its order; none if it is not installed."""
    spec = importlib.util.find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        return ()
    files = sorted((Path(spec.submodule_search_locations[0]) / "models").glob("*.py"))
    return tuple(name for file in files for name in _BUILDER.findall(file.read_text(encoding="utf-8")))
