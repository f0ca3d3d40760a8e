"""No password, token or user name of an address is shown, however badly it is written."""

import pytest

from oltr_cli.base.secrets import without_secrets, without_secrets_in

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
