"""The command line in this process, as the console script runs it: exit code, stdout, stderr. Fast, for many calls."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oltr_cli.app import main


def oltr_here(*arguments: object, **environment: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``oltr ARGUMENTS``; an exception that leaves ``main`` leaves this, too."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["oltr", *map(str, arguments)])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        for name, value in {"COLUMNS": "120", "OLTR_TRACKING": "off", **environment}.items():
            patch.setenv(name, value)
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code
    return code if isinstance(code, int) else int(code is not None), out.getvalue(), err.getvalue()


@contextmanager
def somebody_else(*folders: Path) -> Iterator[None]:
    """As a user without privileges, where the tests run as root; ``folders`` and those above them can be entered."""
    if os.geteuid() != 0:
        yield
        return
    for folder in folders:
        for place in (folder, *folder.parents[:-2]):
            place.chmod(place.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
