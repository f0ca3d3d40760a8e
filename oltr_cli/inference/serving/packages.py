"""What a server needs to be installed; nothing of it is imported here."""

import importlib.util

from oltr_cli.errors import UsageProblem

_NEEDED = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}  # module → package


def require_packages() -> None:
    """Check that they are.

    Raises:
        UsageProblem: one is missing; the message says what to type.
    """
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UsageProblem(f"oltr serve needs {' and '.join(missing)}: pip install 'oltr[serve]'")
