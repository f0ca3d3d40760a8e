#!/usr/bin/env bash
# Expected: an Optuna study at postgresql://... opens with the driver that is installed, psycopg2, as with SQLAlchemy 2.0.
# Happens: SQLAlchemy 2.1 takes an address without a driver for psycopg 3 and raises ModuleNotFoundError for "psycopg",
# though psycopg2 is there. Optuna turns that into "Failed to import DB access module for the specified storage URL.
# Please install appropriate one.", which names neither the module nor that postgresql+psycopg2:// would work.
# Seen with SQLAlchemy 2.1.9, Optuna 5.0.0, psycopg2-binary 2.9.13, Python 3.11.7.

set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
python3 -m venv venv
venv/bin/pip install --quiet sqlalchemy==2.1.9 optuna==5.0.0 psycopg2-binary==2.9.13
venv/bin/python - <<'PY'
import optuna
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

# Nothing listens on this port, so an address that finds its driver ends in a refused connection.
PLACE = "u:p@127.0.0.1:1/studies"
seen = {}
for scheme in ("postgresql", "postgresql+psycopg2"):
    try:
        seen[scheme] = create_engine(f"{scheme}://{PLACE}").dialect.driver
    except ModuleNotFoundError as error:
        seen[scheme] = str(error)
    try:
        optuna.storages.RDBStorage(f"{scheme}://{PLACE}")
    except ImportError as error:
        told = str(error)
        print(f"{scheme}: {seen[scheme]} | Optuna: {told}")
    except OperationalError:
        print(f"{scheme}: {seen[scheme]} | Optuna: connection refused, so the driver was found")
assert seen == {"postgresql": "No module named 'psycopg'", "postgresql+psycopg2": "psycopg2"}, seen
assert "psycopg" not in told, "Optuna names the module now"
PY

# Output seen:
# postgresql: No module named 'psycopg' | Optuna: Failed to import DB access module for the specified storage URL. Please install appropriate one.
# postgresql+psycopg2: psycopg2 | Optuna: connection refused, so the driver was found
