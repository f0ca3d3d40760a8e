"""No password, token or user name of an address is shown, however badly it is written."""

import html
import json
from types import SimpleNamespace

import pytest

from oltr_cli.base.machine import describe
from oltr_cli.base.secrets import without_secrets, without_secrets_in
from tests.helpers.fake_runs import make_run
from tests.helpers.in_process import oltr_here

ADDRESSES = [
    ("http://user:pa:ss@host:5000/x", "http://host:5000/x"),
    ("postgresql://user:pw@host/db", "postgresql://host/db"),
    ("postgresql://user@host/db", "postgresql://host/db"),
    ("postgresql://u:pa/ss@host/db", "postgresql://host/db"),
    ("postgresql://u:p@ss@host/db", "postgresql://host/db"),
    ("postgresql://u:p#w@host/db?sslmode=require", "postgresql://host/db?sslmode=require"),
    ("mysql+pymysql://u:p?w@host/db", "mysql+pymysql://host/db"),
    ("https://token@host/x", "https://host/x"),
    ("http://host/x?token=abc&y=1", "http://host/x?token=***&y=1"),
    ("postgresql://host/db?user=me&password=pw", "postgresql://host/db?user=me&password=***"),
    ("https://host/x?y=1&X-Api-Key=abc", "https://host/x?y=1&X-Api-Key=***"),
    ("https://host/#access_token=abc&x=1", "https://host/#access_token=***&x=1"),
    ("--storage=postgresql://u:pw@host/db", "--storage=postgresql://host/db"),
]
HARMLESS = [
    *("http://host/a@b", "sqlite:////home/me@work/mlflow.db", "http://host/?a=b@c", "http://127.0.0.1:5000"),
    *("s3://bucket/key", "params.lambda=0.1", "me@host", ""),
]


@pytest.mark.parametrize(("address", "shown"), [*ADDRESSES, *((one, one) for one in HARMLESS)])
def test_what_is_shown_of_an_address(address: str, shown: str):
    assert without_secrets(address) == shown


@pytest.mark.parametrize(("address", "shown"), ADDRESSES)
def test_addresses_in_the_messages_of_libraries(address: str, shown: str):
    address, shown = (one.removeprefix("--storage=") for one in (address, shown))
    assert (
        without_secrets_in(f"could not reach '{address}' (tried twice)") == f"could not reach '{shown}' (tried twice)"
    )


SECRET = "postgresql://me:pa/ss@host/db?token=abc&sslmode=require"


def test_no_secret_in_what_a_run_and_its_report_keep(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["oltr", "tune", "lambda", "--storage", SECRET, f"--storage={SECRET}"])
    where = SimpleNamespace(device=SimpleNamespace(type="cpu"), mixed_precision="no", num_processes=1)
    kept = describe(where, 0)
    assert not [secret for secret in ("pa/ss", "abc", "me:") if secret in json.dumps(kept)]
    run = make_run(tmp_path / "runs", "mine", "plain")
    before = ["oltr", "run", "plain", "--recipe", "a & b?.toml", "--set", f"x={SECRET}"]  # as earlier versions kept it
    (run.path / "environment.json").write_text(json.dumps({**kept, "command": before}))
    page = tmp_path / "page.html"
    settings = {"OLTR_RUNS": str(tmp_path / "runs"), "MLFLOW_TRACKING_URI": SECRET}
    code, _, err = oltr_here("report", "--dataset", "mine", "--out", page, **settings)
    assert code == 0, err
    text = page.read_text()
    assert not [secret for secret in ("pa/ss", "token=abc") if secret in text]
    assert "--recipe 'a & b?.toml'" in html.unescape(text).replace("\\u0026", "&").replace("\\u0027", "'")


def test_no_secret_in_what_ui_prints(tmp_path):
    store = "sqlite:///" + str(tmp_path / "store.db")
    (tmp_path / "store.db").touch()
    for uri in (SECRET, "https://me:hunter2@host/x?token=abc&y=1", f"{store}?token=abc"):
        for more in ((), ("--json",)):
            code, out, err = oltr_here("ui", "--dry-run", *more, OLTR_RUNS=str(tmp_path), MLFLOW_TRACKING_URI=uri)
            assert not [secret for secret in ("pa/ss", "token=abc", "hunter2") if secret in out + err], out + err
    code, out, _ = oltr_here("ui", "--dry-run", OLTR_RUNS=str(tmp_path), MLFLOW_TRACKING_URI=SECRET)
    assert code == 0
    assert "'postgresql://host/db?token=***&sslmode=require'" in out  # a shell would take & and ? for its own


@pytest.mark.parametrize("address", ["postgresql://me:pa/Sekret9@host/db", "https://host/x?token=Sekret9"])
@pytest.mark.parametrize(
    "command",
    [
        ["show", "{}"],
        ["evaluate", "{}"],
        ["run", "plain", "--recipe", "{}"],
        ["run", "plain", "--dataset", "glyphs-lt", "--weights", "{}", "--dry-run"],
        ["data", "build", "--images", "{}", "--out", "mine"],
        ["{}"],
        ["ls", "methods", "--methods-from", "{}"],
    ],
    ids=" ".join,
)
def test_an_address_in_the_place_of_a_path_or_a_name(tmp_path, monkeypatch, command, address):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path))
    code, out, err = oltr_here(*(word.format(address) for word in command))
    assert code in (2, 3)
    assert "host" in err
    assert "Sekret9" not in out + err


def test_paths_are_not_addresses():
    for text in ("C:/me:x@y", "error: /tmp/a:/b", "a.toml:1: /home/me@work"):
        assert without_secrets_in(text) == text
