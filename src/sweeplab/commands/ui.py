"""`sweeplab ui`: serve MLflow's UI, and open the browser on a sweep, a run or the latest of them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import webbrowser
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from sweeplab import console, tracking
from sweeplab.commands.naming import sweep_or_run
from sweeplab.config import Config, Node
from sweeplab.errors import RunFailed, UserError
from sweeplab.store import Run, Store


def add_options(parser: ArgumentParser) -> None:
    """Add the port, and what is opened."""
    parser.usage = "%(prog)s [options] [SWEEP | RUN] [key=value ...]"
    named = "latest, the beginning of an id of a sweep or a run, or an experiment"
    parser.add_argument("words", nargs="*", action="extend", metavar="SWEEP | RUN", help=named)
    port = "port of the UI on 127.0.0.1; the next free one if taken"
    parser.add_argument("--port", type=_port, default=5000, help=port)
    browser = "print the addresses, as is done where there is no browser"
    parser.add_argument("--no-browser", action="store_true", help=browser)


def _port(text: str) -> int:
    """Read a port. Raises argparse's own error for anything else."""
    try:
        return int(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text}: {tracking.PORTS}") from error


def overrides(arguments: Namespace, words: list[str]) -> list[str]:
    """Take the name of a sweep or run, which has no `=`, from among the overrides."""
    arguments.names = [word for word in words if "=" not in word]
    return [word for word in words if "=" in word]


def main(arguments: Namespace, settings: Config) -> None:
    """Serve the tracking database until Ctrl-C; a tracking server is only linked to.

    Raises UserError for a name that nothing has, before a server is started.
    """
    uri = tracking.resolve_uri(settings.tracking)
    chosen = _chosen(settings, uri, arguments.names)
    opens = not arguments.no_browser and has_browser()
    with console.waiting("starting the MLflow UI"), tracking.serve(uri, arguments.port) as base:
        away = tracking.refresh(Store(settings.store.root), settings.tracking)
        if away is not None:
            console.complain(away)
        links = _links(settings, uri, base, chosen)
        name, link = next(iter(links.items()))
        if opens and webbrowser.open(link):
            console.say(f"opened in the browser: {name}; MLflow is at {base}")
        else:
            for name, link in links.items():
                console.say(f"{name}:\n  {link}")
        if not tracking.has_page(uri):
            _until_ctrl_c()


def has_browser() -> bool:
    """Whether a browser can show a page to who sits here: not over ssh, and not without a display.

    One that BROWSER names is taken at its word.
    """
    if os.environ.get("BROWSER"):
        return True
    if os.environ.get("SSH_CONNECTION"):
        return False
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform == "darwin" or bool(has_display)


def _chosen(settings: Config, uri: str, names: list[str]) -> Run | Node | None:
    """Find the sweep or the run that is named, if any. Raises RunFailed if MLflow lacks it."""
    if not names:
        return None
    if len(names) > 1:
        raise UserError(f"{' '.join(names)}: name one sweep or run; sweeplab compare takes several")
    home, name = Store(settings.store.root), names[0]
    chosen = sweep_or_run(home, name, settings)
    _links(settings, uri, "", chosen)
    return chosen


def _links(settings: Config, uri: str, base: str, chosen: Run | Node | None) -> dict[str, str]:
    """Link to a run, to what compares the configs of a sweep, or to the latest; the first is opened.

    Raises RunFailed if MLflow lacks what was chosen.
    """
    if chosen is None:
        return links_of(settings, uri, base)
    links: dict[str, str] = {}
    if isinstance(chosen, Run):
        name = f"the run {chosen.id}"
        for place in tracking.run_places(chosen, uri)[:1]:
            links[name] = tracking.run_link(base, place.experiment_id, place.run_id)
    else:
        name = f"the sweep {chosen['id'][:12]} ({chosen['name']})"
        of_sweep = tracking.links(Store(settings.store.root), chosen, uri, base)
        links = {f"{what} of {name}": link for what, link in of_sweep.items()}
    if not links:
        sync = console.command("sweeplab sync")
        where = tracking.public(uri)
        raise RunFailed(f"{name} is not in MLflow at {where}; {sync} carries it there")
    return links


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
