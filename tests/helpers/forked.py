"""The command line in a process of its own, forked from one that has torch imported: that takes seconds in a fresh one.

What a fresh interpreter does differently (what it imports, how it starts and ends) is tested with ``Oltr.command``.
"""

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

context = multiprocessing.get_context("forkserver")
# What a training imports. MLflow is missing: few tests track, and forking is safe while there is one thread.
context.set_forkserver_preload(
    ["oltr_cli.app", "oltr_cli.training.engine", "oltr_cli.pipeline.result", "oltr_cli.drawing.run_plots", "accelerate"]
)


class Forked:
    """``oltr ARGUMENTS`` in a session of its own; its methods are those of ``subprocess.Popen``."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str]) -> None:
        self._said = tempfile.TemporaryDirectory()
        here, there = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_oltr, args=(there, arguments, dict(environment), str(Path.cwd()), self._said.name)
        )
        self._process.start()
        there.close()
        here.recv()  # it has its session, and can be killed with all that it starts
        here.close()
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("oltr", timeout or 0, *self._output())
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        return self._output()

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to it and to what it started, unless it has ended."""
        if self.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)

    def _output(self) -> tuple[str, str]:
        out, err = (Path(self._said.name, name).read_text(encoding="utf-8") for name in ("out", "err"))
        return out, err


def _oltr(ready: Connection, arguments: list[str], environment: dict[str, str], folder: str, said: str) -> None:
    """What ``python -m oltr_cli`` does, in a process that was forked for it."""
    os.setsid()
    # The loaders' processes are started as always, not by a second server.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(said, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    ready.send(None)
    ready.close()
    sys.argv = ["oltr", *arguments]
    from oltr_cli.app import main
    from tests.helpers import outlines

    outlines.use()
    code: str | int | None = None
    try:
        main()
    except SystemExit as leaving:
        code = leaving.code
    # After the exception is gone: it holds the loaders, for whose processes the exit functions would wait.
    atexit._run_exitfuncs()
    sys.exit(code)
