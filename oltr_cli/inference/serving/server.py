"""The process: an address is taken, requests are answered until a signal comes, and those in flight after it."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from oltr_cli.base.signals import STOPPING
from oltr_cli.errors import OltrError

GRACE = 30  # seconds after a signal for requests that are in flight


class _Server(uvicorn.Server):
    """Ends with its requests answered, where uvicorn's own would then die of the signal."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in STOPPING
            if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN  # nohup
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def bound(host: str, port: int) -> socket.socket:
    """A socket at the address; port 0 is any that is free.

    Raises:
        OltrError: the address cannot be taken.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except (OSError, OverflowError) as error:
        # socket.create_server adds to the text where it was, which the line says already.
        reason = str(error.strerror).partition(" (while")[0] if isinstance(error, OSError) else str(error)
        raise OltrError(f"{host}:{port} cannot be listened on: {reason}; choose another --port or --host") from None


def url_of(listening: socket.socket) -> str:
    """``http://127.0.0.1:8000`` of a bound socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine reaches a bound socket."""
    host = str(listening.getsockname()[0])
    return host.startswith("127.") or host == "::1"


def answer_until_stopped(app: FastAPI, listening: socket.socket) -> None:
    """Answer requests until SIGINT, SIGTERM or SIGHUP; then those in flight. A second Ctrl-C stops at once."""
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=GRACE,
    )
    _Server(config).run(sockets=[listening])
