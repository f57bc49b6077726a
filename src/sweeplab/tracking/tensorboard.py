"""TensorBoard: a folder of event files for each run, with its curves and its hyper-parameters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeplab import config
from sweeplab.tracking.exporter import ExportedRun, Exporter
from sweeplab.tracking.terms import MetricRow

if TYPE_CHECKING:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

COMPLETE = "complete"  # the file that says how many lines of the journal are in the event file
EVENTS = "events.out.tfevents.*"
_ODD = re.compile(r"[^\w=.,+-]+")  # in a folder's name
MOST_LETTERS = 100  # of a run's name in the name of its folder


class TensorBoard(Exporter):
    """Writes `<folder>/<experiment>/<name> <id>/`, which `tensorboard --logdir <folder>` shows."""

    def __init__(self, folder: str | None = None) -> None:
        """Relative folders start at the root, as those of all other keys do.

        Without a folder, or with a blank one, it is `tensorboard`.
        """
        self._folder = config.absolute((folder or "").strip() or "tensorboard")
        self._writers: dict[str, EventFileWriter] = {}

    @classmethod
    def unavailable(cls) -> str | None:
        if find_spec("tensorboard") is None:
            return "the package tensorboard is not installed; uv add tensorboard, or pip install tensorboard"
        return None

    def has(self, run: ExportedRun) -> bool:
        place = self._place(run)
        try:
            text = (place / COMPLETE).read_text(encoding="utf-8")
        except OSError:
            return False
        return text == str(run.lines) and any(place.glob(EVENTS))

    def begin(self, run: ExportedRun) -> None:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        place = self._place(run)
        for file in (place / COMPLETE, *place.glob(EVENTS)):
            file.unlink(missing_ok=True)
        self._writers[run.id] = EventFileWriter(str(place))
        params = {key: _plain(value) for key, value in run.params.items() if value is not None}
        self._add(run, run.started, 0, hparams_pb(params, run.id, run.started))

    def log(self, run: ExportedRun, rows: Sequence[MetricRow]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        for row in rows:
            value = Summary.Value(tag=row.name, simple_value=row.value)
            self._add(run, row.time / 1000, row.step, Summary(value=[value]))
        self._writers[run.id].flush()

    def end(self, run: ExportedRun) -> None:
        self._writers.pop(run.id).close()
        if run.status != "running":
            (self._place(run) / COMPLETE).write_text(str(run.lines), encoding="utf-8")

    def _add(self, run: ExportedRun, time: float, step: int, summary: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writers[run.id].add_event(Event(wall_time=time, step=step, summary=summary))

    def _place(self, run: ExportedRun) -> Path:
        name = _ODD.sub(" ", run.name).strip()[:MOST_LETTERS]
        experiment = _ODD.sub(" ", run.experiment).strip(". ") or "runs"
        return self._folder / experiment / f"{name} {run.id[:8]}".strip(" .")


def _plain(value: object) -> bool | int | float | str:
    """Return a value of the config as TensorBoard takes it: a list, say, as text."""
    return value if isinstance(value, bool | int | float) else config.yaml_str(value)
