"""`sweeplab ui`: serve MLflow's UI, with links to the latest runs."""

from __future__ import annotations

import contextlib
import threading
from argparse import ArgumentParser, Namespace

from sweeplab import console, tracking
from sweeplab.config import Config
from sweeplab.store import Store


def add_options(parser: ArgumentParser) -> None:
    """Add the port."""
    port = "port of the UI on 127.0.0.1; the next free one if taken"
    parser.add_argument("--port", type=int, default=5000, help=port)


def main(arguments: Namespace, settings: Config) -> None:
    """Serve the tracking database until Ctrl-C; a tracking server is only linked to."""
    uri = tracking.resolve_uri(settings.tracking)
    with console.waiting("starting the MLflow UI"), tracking.serve(uri, arguments.port) as base:
        tracking.refresh(Store(settings.store.root), settings.tracking)
        for name, link in links_of(settings, uri, base).items():
            console.say(f"{name}:\n  {link}")
        if not tracking.has_page(uri):
            _until_ctrl_c()


def links_of(settings: Config, uri: str, base: str) -> dict[str, str]:
    """Link to what is most likely wanted: the latest sweep, the latest run, and all runs."""
    home = Store(settings.store.root)
    sync = console.command("sweeplab sync")
    for problem in tracking.damaged_records(home):
        console.complain(f"{problem}; made anew by: {sync}")
    links: dict[str, str] = {}
    for sweep in home.manifests(console.complain)[-1:]:
        for what, link in tracking.links(home, sweep, uri, base).items():
            links[f"{what} of the latest sweep ({sweep['name']})"] = link
    for run in home.runs()[-1:]:
        for place in tracking.run_places(run, uri)[:1]:
            run_link = tracking.run_link(base, place.experiment_id, place.run_id)
            links[f"the latest run ({run.id})"] = run_link
            links["all runs"] = tracking.table_link(base, place.experiment_id)
    return links or {"MLflow (no run of this root is in it yet)": base}


def _until_ctrl_c() -> None:
    console.say("Ctrl-C ends it")
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
