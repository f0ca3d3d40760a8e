"""Keeps MLflow quiet: no telemetry, no log lines, no long waits."""

import logging
import os
import warnings

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout carries results only
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # by default MLflow waits for minutes
}
_CHATTY = ("mlflow", "alembic", "sqlalchemy", "urllib3", "huey")


def keep_quiet(patience: int = 5) -> None:
    """Turn off telemetry and log lines of MLflow and its dependencies; what the user set in the environment stays.

    Args:
        patience: seconds to wait for a server's answer to one request; a run does not wait long.
    """
    for name, value in {**_ENVIRONMENT, "MLFLOW_HTTP_REQUEST_TIMEOUT": str(patience)}.items():
        os.environ.setdefault(name, value)
    for name in _CHATTY:
        # A handler that does nothing keeps warnings off stderr, the fallback; the user's handlers still get them.
        logging.getLogger(name).addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", module=r"(mlflow|alembic|sqlalchemy|urllib3|requests|pydantic)(\.|$)")
