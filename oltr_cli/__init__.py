"""oltr: open long-tailed recognition, with all methods under the same conditions, compared with the paper.

In Python, ``from oltr_cli import Recogniser`` and the other names below; docs/api.md describes them. Each is imported
from its module when it is first used, so that ``import oltr_cli`` takes no time.
"""

from importlib import import_module

__version__ = "0.1.0"

# Name → its module; __init__.pyi tells type checkers the same.
_PUBLIC = {
    "Confusions": "protocol.confusions",
    "DataProblem": "errors",
    "Evaluation": "protocol.evaluate",
    "Examination": "api.examination",
    "ImageLike": "api.images",
    "LabelSets": "protocol.label_sets",
    "Mistake": "protocol.mistakes",
    "NotFinite": "errors",
    "OltrError": "errors",
    "PerClass": "protocol.per_class",
    "Reasons": "inference.verdicts",
    "Recogniser": "api.recogniser",
    "SavedScores": "runs.scores",
    "SetCoverage": "protocol.set_coverage",
    "SetRule": "protocol.label_sets",
    "Stopped": "errors",
    "Suspect": "protocol.mislabelled",
    "Taxon": "inference.wider",
    "UsageProblem": "errors",
    "Verdict": "inference.verdicts",
    "add_file": "base.added_files",
    "evaluate": "api.examination",
    "examine": "api.examination",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'oltr_cli' has no attribute '{name}'")
    value = getattr(import_module(f"oltr_cli.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
