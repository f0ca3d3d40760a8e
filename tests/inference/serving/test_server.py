"""oltr serve as a process: its address, a signal while requests are in flight, and what cannot be served."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("python_multipart")
pytest.importorskip("uvicorn")

from oltr_cli.inference.serving.server import bound, is_loopback, url_of
from tests.helpers.finished_runs import environment, make_finished_runs
from tests.helpers.in_process import oltr_here
from tests.helpers.web import BOUNDARY, call, form, post_files


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("finished")
    patch = environment(home)
    yield make_finished_runs(home, {"plain": []})
    patch.undo()


@pytest.fixture
def serving(finished):
    """The process and its port."""
    command = [sys.executable, "-m", "oltr_cli", "serve", finished.names["plain"], "--port", "0", "--device", "cpu"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:"), process.communicate()
    yield process, int(address.rpartition(":")[2])
    process.kill()
    process.communicate()


def refused(port):
    """Whether nobody listens any more."""
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except ConnectionRefusedError:
            return True
        time.sleep(0.05)
    return False


def test_sigterm_answers_what_is_in_flight_and_ends_well(finished, serving):
    process, port = serving
    file = Path(finished.files("test")[0])
    body = form([(file.name, file.read_bytes())])
    assert post_files(port, [(file.name, file.read_bytes())]).status == 200
    assert call(port, "GET", "/model-card").body.startswith(b"---\nlibrary_name: oltr")
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n"
        head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")  # the request is being read
        process.send_signal(signal.SIGTERM)
        assert refused(port)
        connection.sendall(body)
        answer = b""
        while block := connection.recv(1 << 16):
            answer += block
    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["counts"]["images"] == 1
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == ""
    assert said.endswith("stopped after 2 images\n")


def test_ctrl_c_ends_an_idle_server(serving):
    process, _ = serving
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in said


def test_an_address_in_use_is_one_line(finished):
    with bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        code, out, said = oltr_here("serve", finished.names["plain"], "--port", port, "-q")
    assert (code, out) == (1, "")
    assert said.startswith(f"error: 127.0.0.1:{port} cannot be listened on: Address already in use; choose")
    assert said.count("\n") == 1


def test_what_does_not_fit_is_refused_before_the_network_is_loaded(monkeypatch):
    code, out, said = oltr_here("serve", "nothing", "--max-files", 300)
    assert (code, out) == (2, "")
    assert "--max-files 300 is more than --max-waiting 256" in said
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, said = oltr_here("serve", "nothing")
    assert code == 2
    assert said == "error: oltr serve needs fastapi and uvicorn and python-multipart: pip install 'oltr[serve]'\n"


def test_addresses_are_told():
    with bound("127.0.0.1", 0) as here:
        assert is_loopback(here)
        assert url_of(here) == f"http://127.0.0.1:{here.getsockname()[1]}"
    with bound("0.0.0.0", 0) as everywhere:
        assert not is_loopback(everywhere)
