"""The only door to MLflow: where it is, the feeder that writes to it, links, the UI, downloads.

What is written is written by `feeder`, in a process of its own. mlflow is imported here only, inside functions.
"""

from sweeplab.tracking.address import experiment_name, has_page, public, resolve_uri, served
from sweeplab.tracking.artifacts import download, save_model
from sweeplab.tracking.client import Client, early, feeding, lagging, refresh, sync
from sweeplab.tracking.links import base_of, compare_link, links, run_link, sweep_link, table_link
from sweeplab.tracking.notices import notices
from sweeplab.tracking.records import Place, damaged_records, run_places, sweep_places
from sweeplab.tracking.server import serve
from sweeplab.tracking.weights import second_names

__all__ = [
    "Client",
    "Place",
    "base_of",
    "compare_link",
    "damaged_records",
    "download",
    "early",
    "experiment_name",
    "feeding",
    "has_page",
    "lagging",
    "links",
    "notices",
    "public",
    "refresh",
    "resolve_uri",
    "run_link",
    "run_places",
    "save_model",
    "second_names",
    "serve",
    "served",
    "sweep_link",
    "sweep_places",
    "sync",
    "table_link",
]
