"""What the page of an MLflow experiment shows of the latest sweeps: saved views, and a description.

Both are tags of the experiment, which people write, too: what is not surely sweeplab's stays.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sweeplab.tracking import links, saved_view
from sweeplab.tracking.connection import Connection
from sweeplab.tracking.goals import SWEEP_LENGTH, SweepManifest, TrackedRun

if TYPE_CHECKING:
    from mlflow.entities import Experiment

VIEW = "mlflow.sharedViewState."  # the beginning of a saved view's tag; its id follows
MOST_VIEWS = 20  # of sweeplab's in an experiment
NOTE = "mlflow.note.content"  # the tag of a description
MOST_CHARACTERS = 4500  # of ours in a description; an older server takes 5,000 in all
OURS = re.compile(
    r"^\*\*Latest sweep\*\*.*?^\[//\]: # \(sweeplab ([\d.]+)\)$", re.DOTALL | re.MULTILINE
)
"""What is ours in a description: Markdown does not show the last line, which tells its time."""


def show(connection: Connection, job: TrackedRun, sweep: SweepManifest, run_id: str) -> str | None:
    """Have the experiment's page show a sweep; return the id of its view, None if it has none.

    What MLflow refuses is done without. Raises AwayError if the server is away.
    """
    view = None
    try:
        experiment_id = connection.experiment_id(job.experiment)
        experiment = connection.client.get_experiment(experiment_id)
        view = _write_view(connection, experiment, sweep)
        before = experiment.tags.get(NOTE, "")
        summary = connection.store.summary(sweep.id).get("description", "")
        status = job.goal["status"].lower()
        heading = f"{_links(experiment_id, sweep, view, run_id)} · {status}"
        note = with_sweep(before, sweep, heading, summary)
        if note != before:
            connection.client.set_experiment_tag(experiment_id, NOTE, note)
    except Exception:
        connection.check()
    return view


def _write_view(connection: Connection, experiment: Experiment, sweep: SweepManifest) -> str | None:
    """Write the view of a sweep, and delete the oldest of ours that are too many.

    Not written is one that MLflow's UI does not know, that people have changed, or that is older
    than those that are kept.
    """
    content = saved_view.Content.of(sweep, sweep.begun(connection.store))
    if content is None or not connection.has_views:
        return None
    own = {}  # tag -> when the view was created
    for tag, text in experiment.tags.items():
        created = saved_view.created_at(text) if tag.startswith(VIEW) else None
        if created is not None:
            own[tag] = created
    tag, value = view_tag(sweep.id), saved_view.write(content, sweep.start)
    if value is None or (tag in experiment.tags and tag not in own):
        return None
    own[tag] = sweep.start
    oldest = sorted(own, key=lambda tag: own[tag])[:-MOST_VIEWS]
    if tag not in oldest and experiment.tags.get(tag) != value:
        connection.client.set_experiment_tag(experiment.experiment_id, tag, value)
    for old in oldest:
        if old in experiment.tags:
            connection.client.delete_experiment_tag(experiment.experiment_id, old)
    return None if tag in oldest else tag.removeprefix(VIEW)


def view_tag(sweep_id: str) -> str:
    """Return the tag of an experiment that holds the view of a sweep.

    Its id stands in links behind `viewStateShareKey=`, and must not look like a secret, which what
    is printed hides: no piece of it is long.
    """
    return f"{VIEW}sweeplab_{sweep_id[:SWEEP_LENGTH]}"


def _links(experiment_id: str, sweep: SweepManifest, view: str | None, run_id: str) -> str:
    """Write links in Markdown that hold wherever MLflow is served."""
    configs = links.sweep_link("", experiment_id, sweep.id)
    if view is not None:
        configs = links.view_link("", experiment_id, view)
    run = links.run_link("", experiment_id, run_id, "overview")
    return f"[configs]({configs.lstrip('/')}) · [report and figures]({run.lstrip('/')})"


def with_sweep(note: str, sweep: SweepManifest, heading: str, summary: str) -> str:
    """Return a description with a sweep in it, in the place of an earlier one of ours.

    What people wrote stays as it is: nothing is added to a description without a sweep in it.
    """
    ours = OURS.search(note)
    if (note.strip() and not ours) or (ours and float(ours[1]) > sweep.manifest["time"]):
        return note
    name = str(sweep.manifest["name"]).replace("`", "'")
    text = f"**Latest sweep**: {heading} · `{name}`\n\n{summary}"
    if len(text) > MOST_CHARACTERS:
        text = text[:MOST_CHARACTERS].rpartition("\n")[0] + "\n\n... the rest is in the report"
    text += f"\n\n[//]: # (sweeplab {sweep.manifest['time']})"
    return note[: ours.start()] + text + note[ours.end() :] if ours else text
