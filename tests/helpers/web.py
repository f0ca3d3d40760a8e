"""A small HTTP client, and an application on a port of this machine in a thread of this process."""

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

BOUNDARY = "a-boundary-that-no-image-holds"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(port: int, method: str, path: str, body: bytes | Iterator[bytes] | None = None, **headers: str) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        got = connection.getresponse()
        return Answer(got.status, dict(got.getheaders()), got.read())
    finally:
        connection.close()


def form(files: list[tuple[str, bytes]], field: str = "files") -> bytes:
    """Files as the body of a form with ``BOUNDARY``."""
    body = b""
    for name, content in files:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def post_files(port: int, files: list[tuple[str, bytes]], query: str = "") -> Answer:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return call(port, "POST", f"/predict{query}", form(files), Content_Type=kind)


def post_json(port: int, value: Any) -> Answer:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return call(port, "POST", "/predict", body, Content_Type="application/json")


@contextmanager
def served(app: Any) -> Iterator[int]:
    """The port on which ``app`` is answered meanwhile."""
    import uvicorn

    from oltr_cli.inference.serving.server import bound

    with bound("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()
