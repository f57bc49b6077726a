"""The only door to MLflow.

Training knows nothing of MLflow: it appends lines to the run's journal. A line goes from there to
MLflow in seven steps, each a file:

1. `store/journal.py`: the run's process appends the line.
2. `store/history.py`: reads the journal's new lines, and finds the facts in them.
3. `view.py`: looks at all runs and sweeps, and lists those whose goal (`goals.py`) differs from the
   record (`records.py`) of what MLflow has been fed.
4. `feeder.py`: a process of its own, one a store, which asks the view again and again, and hands on
   what is behind.
5. `writer.py`: feeds one MLflow run, which is found or created first (`creation.py`), and writes
   the record last.
6. `sender.py`: makes MLflow's metrics, params and tags of the lines, and sends them in batches.
7. `connection.py`: holds MLflow's own client, which writes to the database or the server.

A command meets the feeder in `client.py` and `process.py` (keep one at work, wait for it), in
`syncing.py` (bring MLflow up to date now) and in `notices.py`. Other trackers get the same rows by
an `exporter.py`, in a process of the command's own (`exporting.py`, `exports.py`): `tensorboard.py`
is one. What the page of an experiment shows of a sweep is in `showcase.py` and `saved_view.py`. What
remains is about places: `address.py` (the tracking URI), `links.py`, `server.py` (the UI) and
`artifacts.py` (downloads).

mlflow is imported in this package only, inside functions.
"""

from sweeplab.tracking.address import (
    checked,
    ensure_writable,
    experiment_name,
    has_page,
    public,
    resolve_uri,
    served,
)
from sweeplab.tracking.artifacts import download, save_model
from sweeplab.tracking.client import Client, feeding
from sweeplab.tracking.deletion import Deletion
from sweeplab.tracking.exporter import ExportedRun, Exporter
from sweeplab.tracking.exporting import problems as exporter_problems
from sweeplab.tracking.links import base_of, compare_link, links, run_link, sweep_link, table_link
from sweeplab.tracking.notices import notices
from sweeplab.tracking.process import early
from sweeplab.tracking.records import Place, damaged_records, run_places, sweep_places
from sweeplab.tracking.server import PORTS, serve
from sweeplab.tracking.syncing import export, is_behind, refresh, sync
from sweeplab.tracking.tensorboard import TensorBoard
from sweeplab.tracking.terms import MetricRow
from sweeplab.tracking.weights import second_names
