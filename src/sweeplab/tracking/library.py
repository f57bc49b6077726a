"""The settings that the mlflow library reads when it is imported."""

from __future__ import annotations

import os

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # we say what fails, in one line
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # it has one where tqdm is installed
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Our own loop tries again, and looks before it creates: mlflow could create a run twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "PGCONNECT_TIMEOUT": "5",
}


def quieten() -> None:
    """Make these settings, unless the user has made other ones."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
