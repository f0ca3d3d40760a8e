"""``oltr ui``: MLflow's web pages for the store that runs are tracked in."""

import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from pathlib import Path


STORE = "MLFLOW_BACKEND_STORE_URI"  # the variable that mlflow server reads


def ui(
    port: Annotated[int, typer.Option("--port", "-p", min=1, max=65535, help="Port to listen on.")] = 5000,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = ("127.0.0.1"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the command.")] = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Fill a new store with all finished runs, or a server with those it lacks; old stores are kept.",
        ),
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print address, store and command as one JSON object.")] = False,
) -> None:
    """Start MLflow to view the runs in a browser: curves, parameters and pictures side by side.

    ```
    oltr ui                the store of $OLTR_RUNS, or $MLFLOW_TRACKING_URI
    oltr ui --port 5001    if port 5000 is taken
    oltr ui --rebuild      a new store of all finished runs, made from their files
    ```
    """
    from oltr_cli.base.secrets import without_secrets
    from oltr_cli.errors import UsageProblem
    from oltr_cli.runs.folder import runs_root
    from oltr_cli.tracking.mlflow_run import is_remote
    from oltr_cli.tracking.tracker import tracking_uri

    root = runs_root()
    if rebuild and dry_run:
        raise UsageProblem("--rebuild writes a store and starts no server; leave out --dry-run")
    if rebuild:
        _rebuild(root, json_)
        return
    uri = tracking_uri(root)
    shown = without_secrets(uri)
    if is_remote(uri):
        # A server is already running: nothing to start.
        if json_:
            print_json({"address": shown, "store": shown, "command": None})
        else:
            print(shown)
        print("MLFLOW_TRACKING_URI names a server: open this address in a browser", file=sys.stderr)
        return
    command = _server_command(root, host, port)
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    _check(uri, host, port, dry_run)
    if json_:
        print_json({"address": address, "store": shown, "command": command})
    elif dry_run:
        print(f"{STORE}={shlex.quote(shown)} {shlex.join(command)}")
    if not dry_run:
        _serve(command, uri, address, host, port)


def _rebuild(root: "Path", as_json: bool) -> None:
    from oltr_cli.base.display import Display
    from oltr_cli.base.secrets import without_secrets
    from oltr_cli.base.text import counted
    from oltr_cli.pipeline.tracked import rebuild_store
    from oltr_cli.tracking.store import local_file
    from oltr_cli.tracking.tracker import tracking_uri

    count, aside = rebuild_store(root, Display())
    if as_json:
        print_json({"runs": count, "aside": aside})
    elif local_file(uri := tracking_uri(root)) is None:
        print(f"{counted(count, 'run')} added to {without_secrets(uri)}")
    else:
        print(f"{counted(count, 'run')} in a new store" + (f"; the old one is {aside}" if aside else ""))


def _server_command(root: "Path", host: str, port: int) -> list[str]:
    """The store is passed in the environment instead, because all users of the machine can see arguments."""
    artifacts = (root.absolute() / "mlartifacts").as_uri()
    # One worker is enough for one person and needs a quarter of the time and memory of the default four.
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--default-artifact-root", artifacts, "--host", host, "--port", str(port), "--workers", "1"),
        *("--uvicorn-opts", "--log-level warning"),
    ]


def _check(uri: str, host: str, port: int, dry_run: bool) -> None:
    """Give one line for problems that would otherwise show as a traceback from MLflow."""
    import importlib.util
    import socket

    from oltr_cli.errors import UsageProblem
    from oltr_cli.tracking.store import local_file

    if importlib.util.find_spec("mlflow") is None:
        raise UsageProblem("MLflow is not installed: pip install mlflow")
    if (file := local_file(uri)) is not None and not file.exists():
        raise UsageProblem(f"{file}: no run is tracked there yet; start with: oltr run dme")
    if dry_run:
        return
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        another = port + 1 if port < 65535 else 5000
        raise UsageProblem(f"cannot listen on {host}:{port}: {error.strerror}; try: oltr ui --port {another}") from None


def _serve(command: list[str], uri: str, address: str, host: str, port: int) -> None:
    """Run the server until Ctrl-C or SIGTERM, then end all of its processes."""
    import os

    from oltr_cli.errors import OltrError

    print("starting MLflow …", file=sys.stderr)
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", STORE: uri}
    # A separate process group: Ctrl-C reaches only this process, which then ends the server's processes quietly.
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    server = subprocess.Popen(command, env=environment, start_new_session=True, stdout=sys.stderr)
    try:
        _wait_until_it_listens(server, host, port)
        if server.poll() is None:
            print(f"MLflow: {address} (Ctrl-C stops it)", file=sys.stderr)
        code = server.wait()
        raise OltrError(f"MLflow ended with exit code {code}; see the lines above")
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        _end(server)
        signal.signal(signal.SIGTERM, before)


def _wait_until_it_listens(server: subprocess.Popen, host: str, port: int) -> None:
    import socket

    while server.poll() is None:
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)


def _end(server: subprocess.Popen) -> None:
    import os

    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(timeout=5)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
