"""The edge to the shell: exceptions become one message and an exit code; the `sweeplab` command."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, NoReturn, ParamSpec

from sweeplab import console
from sweeplab.errors import Interrupted, RunFailed, UserError
from sweeplab.train import ranks

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from sweeplab.commands.listing import Row
    from sweeplab.config import Config
    from sweeplab.store import Store

P = ParamSpec("P")

FAILED, BAD_INPUT, CTRL_C, SIGTERM = 1, 2, 130, 143
TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"  # as the user set it: `guarded` sets it for Hydra's sake
AGAIN = "issue the same command again for the rest"


def guarded(program: Callable[P, object]) -> Callable[P, None]:
    """The program with every way to end it made clear: a message on stderr and the exit code of DESIGN's table.

    HYDRA_FULL_ERROR=1 in the environment shows the traceback of any error.
    """

    @wraps(program)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        started = sys.modules["__main__"].__dict__.get(program.__name__) is run
        if started:
            console.start_in_utf_8()
        console.start_streams()
        ranks.hush()
        os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra itself prints, and exits with 1 whatever happened
        try:
            _look_at_words(program)
            program(*args, **kwargs)
        except (Exception, KeyboardInterrupt) as error:
            ranks.let_first_speak(error)
            sys.exit(_told(error))
        if started:
            _end()

    return run


def _look_at_words(program: Callable[..., object]) -> None:
    """Note the secrets of the command line before anything repeats them, and have Hydra get what it can read."""
    from sweeplab.config import ensure_options, know, readable

    know(word.lstrip("-") for word in sys.argv[1:])
    if hasattr(program, "__wrapped__"):  # decorated by hydra.main
        ensure_options(sys.argv[1:])
        sys.argv[1:] = readable(sys.argv[1:])


def _end() -> None:
    """End the process, without Python's last look at every object: of PyTorch's that takes most of a second."""
    if "torch" in sys.modules and all(
        one.daemon for one in threading.enumerate() if one is not threading.main_thread()
    ):
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError):  # nobody reads any more
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(0)


def train(config: DictConfig) -> None:
    """Hydra's task: train the composed config. What goes wrong is told here, since Hydra would add words of its own;
    a job of a sweep raises instead, so that the others go on.
    """
    from sweeplab import tracking
    from sweeplab.config import is_job
    from sweeplab.console import waiting

    given = config.get("sweep")
    sweep = given if isinstance(given, Mapping) else {}  # what is wrong is told where the whole config is read
    if sweep.get("id") is not None:
        from sweeplab.runs.run import main as job

        return (job if is_job() else guarded(_refuse_sweep_id))(config)
    if sweep.get("plan") is True:
        return guarded(_plan)(config)
    with tracking.early(config):
        with waiting("loading PyTorch"):
            from sweeplab.runs.run import main as run
        return guarded(run)(config)


def _refuse_sweep_id(config: DictConfig) -> None:
    raise UserError(f"sweep.id={config.sweep.id}: is set by the sweep that a run belongs to; leave it out")


def _plan(config: DictConfig) -> None:
    """`sweep.plan=true` without -m: the plan of a single run."""
    from sweeplab.config import task_overrides
    from sweeplab.sweep.plan import make
    from sweeplab.sweep.preview import show

    given = task_overrides()
    show(make([given], given, lambda _: config, alone=True))


def _told(error: BaseException) -> int:
    """Say on stderr what happened; returns the exit code."""
    from sweeplab.config import explain
    from sweeplab.console import complain

    if TRACEBACKS:
        _trace(error)
    if isinstance(error, KeyboardInterrupt):
        terminated = isinstance(error, Interrupted)
        complain(f"{'terminated' if terminated else 'interrupted'}: what was finished is kept; {AGAIN}")
        return SIGTERM if terminated else CTRL_C
    if isinstance(error, UserError):
        complain(str(error))
        return BAD_INPUT
    if isinstance(error, RunFailed):
        complain(str(error))
        return FAILED
    assert isinstance(error, Exception)
    if message := explain(error):
        complain(message)
        return BAD_INPUT
    if isinstance(error, OSError) and error.filename is not None:  # a full disk, a folder that has gone
        complain(f"{error.filename}: {error.strerror}; when that is mended, issue the same command again")
        return FAILED
    _trace(error)
    return FAILED


def _trace(error: BaseException) -> None:
    """Print the traceback, secrets hidden."""
    from sweeplab.config import redact_text

    print(redact_text("".join(traceback.format_exception(error))), end="", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Hides the secrets in what it cannot read."""

    def error(self, message: str) -> NoReturn:
        from sweeplab.console import shown

        super().error(shown(message))


def main(arguments: Sequence[str] | None = None) -> None:
    """The `sweeplab` command."""
    if arguments is None:
        console.start_in_utf_8()
    console.start_streams()
    parser = _Parser(
        prog="sweeplab",
        description="Look at what train.py has recorded. Every command takes config overrides after its own arguments, "
        "as in: sweeplab ui store.root=elsewhere",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    ui = _command(commands, "ui", _ui, "open the MLflow UI on the runs of this root")
    ui.add_argument("--port", type=int, default=5000, help="port of the UI on 127.0.0.1; the next free one if taken")
    _command(commands, "sync", _sync, "bring MLflow level with the store")
    compare = _command(commands, "compare", _compare, "what came out of sweeps: ranked, with its uncertainty")
    compare.usage = "%(prog)s [options] [SWEEP ...] [key=value ...]"
    compare.epilog = "SWEEP: the beginning of a sweep's id, its MLflow run, or an experiment; or two runs"
    compare.add_argument("--where", metavar="EXPR", help="only runs whose config fits: 'model.hidden < 512'")
    compare.add_argument("--baseline", metavar="KEY=VALUE", action="append", default=[], help="differences from it")
    compare.add_argument("--target", type=float, help="of the monitored metric, for epochs to it (default 0.98)")
    compare.add_argument("--report", metavar="FOLDER", help="write the report there: HTML, PNG and CSV")
    compare.add_argument("--write", action="store_true", help="write the experiment's page, experiments/SWEEP.md")
    form = compare.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for scripts, instead of the table")
    form.add_argument("--csv", action="store_true", help="the groups, unrounded, instead of the table")
    replay = _command(commands, "replay", _replay, "train a recorded run again, and compare every bit", "RUN")
    replay.add_argument(
        "--trust", metavar="MODULE", action="append", default=[], help="whose classes and functions it may call, too"
    )
    runs = _command(commands, "runs", _runs, "list the runs of the store, or make room in it")
    runs.add_argument("--json", action="store_true", help="for scripts")
    runs.add_argument("--clean", action="store_true", help="remove failed, interrupted and unfinished runs")
    runs.add_argument("--weights", action="store_true", help="with --clean: the weights of finished runs instead")
    runs.add_argument("--older-than", metavar="AGE", help="only those idle for so long: 30m, 12h, 7d, 2w")
    runs.add_argument("--yes", action="store_true", help="remove them without asking")
    given, overrides = parser.parse_known_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    guarded(lambda: given.run(given, [*given.overrides, *overrides]))()


def _terminate(*_: object) -> None:
    """SIGTERM as Ctrl-C, so that what a command has started (an MLflow server) ends with it."""
    raise Interrupted


def _command(
    commands: argparse._SubParsersAction[_Parser],
    name: str,
    run: Callable[[argparse.Namespace, list[str]], None],
    text: str,
    *required: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    for argument in required:
        parser.add_argument(argument)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="config overrides, as for train.py")
    parser.set_defaults(run=run)
    return parser


def _compose(overrides: Sequence[str]) -> Config:
    from sweeplab.config import compose

    return compose(overrides)


def _ui(given: argparse.Namespace, overrides: list[str]) -> None:
    """Serve the tracking database until Ctrl-C; a tracking server of its own is only pointed to."""
    from sweeplab import console, tracking
    from sweeplab.store import Store

    settings = _compose(overrides)
    uri = tracking.resolve_uri(settings.tracking)
    with console.waiting("starting the MLflow UI"), tracking.serve(uri, given.port) as base:
        tracking.refresh(Store(settings.store.root), settings.tracking)
        for name, link in _links(settings, uri, base).items():
            console.say(f"{name}:\n  {link}")
        if not tracking.has_page(uri):
            _until_ctrl_c()


def _links(settings: Config, uri: str, base: str) -> dict[str, str]:
    """What is most likely wanted: the latest sweep's runs if it is the latest thing, and the latest run."""
    from sweeplab import console, tracking
    from sweeplab.store import Store

    home = Store(settings.store.root)
    for wrong in tracking.damaged_records(home):
        console.complain(f"{wrong}; made anew by: {console.command('sweeplab sync')}")
    links: dict[str, str] = {}
    for sweep in home.manifests(console.complain)[-1:]:
        found = tracking.links(home, sweep, uri, base)
        links |= {f"{what} of the latest sweep ({sweep['name']})": link for what, link in found.items()}
    for run in home.runs()[-1:]:
        for place in tracking.run_places(run, uri)[:1]:
            links[f"the latest run ({run.id})"] = tracking.run_link(base, place.experiment_id, place.run_id)
            links["all runs"] = tracking.table_link(base, place.experiment_id)
    return links or {"MLflow (no run of this root is in it yet)": base}


def _until_ctrl_c() -> None:
    from sweeplab import console

    console.say("Ctrl-C ends it")
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


def _sync(_: argparse.Namespace, overrides: list[str]) -> None:
    """Carry what MLflow lacks; exit code 1 if some of it still lags."""
    from sweeplab import console, tracking
    from sweeplab.store import Store

    settings = _compose(overrides)
    home = Store(settings.store.root)
    _say_copied(home)
    with console.counting("runs carried to MLflow") as progress:
        lag = tracking.sync(home, settings.tracking, progress)
    for notice in tracking.notices(home, settings.tracking):
        console.say(notice)
    if lag:
        count = "1 run lags" if len(lag) == 1 else f"{len(lag)} runs lag"
        raise RunFailed("\n".join([f"{count} behind in MLflow:", *_by_cause(lag)]))
    console.say("MLflow is level with the store")


def _by_cause(lag: Sequence[str]) -> list[str]:
    """The lines of `tracking.sync`, one for all runs that lag for the same cause."""
    runs: dict[str, list[str]] = {}
    for line in lag:
        run_id, _, cause = line.partition(": ")
        runs.setdefault(cause, []).append(run_id)
    names = {cause: ids[0] if len(ids) == 1 else f"{ids[0]} and {len(ids) - 1} more" for cause, ids in runs.items()}
    return [f"{name}: {cause}" for cause, name in names.items()]


def _say_copied(home: Store) -> None:
    from sweeplab import console

    if home.sweeps.is_dir() and home.writable and (told := home.settle()):
        console.say(told)


def _runs(given: argparse.Namespace, overrides: list[str]) -> None:
    """List the store; with --clean, remove what did not come to its end."""
    from sweeplab import console
    from sweeplab.commands import listing
    from sweeplab.store import Store

    if given.json if given.clean else given.yes or given.weights or given.older_than is not None:
        raise UserError("--weights, --older-than and --yes go with --clean, and --json without it")
    age = 0.0 if given.older_than is None else listing.seconds(given.older_than)
    settings = _compose(overrides)
    home = Store(settings.store.root)
    found = listing.rows(home)
    if given.clean and given.weights:
        _clean_weights(settings, home, listing.holding(home, found, age), given.yes)
    elif given.clean:
        _clean(settings, home, listing.removable(found, age), given.yes)
    elif given.json:
        print(listing.as_json(found))
    elif found:
        listing.show(found, f"{len(found)} runs in {home.root}, {listing.size(sum(row.bytes for row in found))}")
    else:
        console.say(f"no runs in {home.root}")


def _clean(settings: Config, home: Store, chosen: list[Row], yes: bool) -> None:
    """Remove these runs if that is agreed to; MLflow keeps what it has, none of it as RUNNING."""
    from sweeplab import console
    from sweeplab.commands import listing

    if not chosen:
        console.say("nothing to remove")
        return
    listing.show(chosen, f"to be removed: {listing.size(sum(row.bytes for row in chosen))}")
    if not yes and not listing.agreed(chosen):
        console.say("nothing was removed")
        return
    _bring_level(settings, home, chosen)
    gone = listing.remove(home, chosen)
    kept = [row.id for row in chosen if row not in gone]
    console.say(f"removed {len(gone)} runs, {listing.size(sum(row.bytes for row in gone))}")
    if kept:
        console.say(f"kept, since they are at work or finished now: {', '.join(kept)}")


def _bring_level(settings: Config, home: Store, chosen: list[Row]) -> None:
    """Have MLflow get what it lacks of these runs, before some of it is removed."""
    from sweeplab import console, tracking

    if settings.tracking.enabled and tracking.lagging(home, settings.tracking, {row.id for row in chosen}):
        _say_copied(home)
        for lag in _by_cause(tracking.sync(home, settings.tracking, lambda *_: None)):
            console.complain(f"MLflow lags behind: {lag}")


def _clean_weights(settings: Config, home: Store, chosen: list[Row], yes: bool) -> None:
    """Remove the weights of these finished runs if that is agreed to; their results stay, here and in MLflow."""
    from sweeplab import console, tracking
    from sweeplab.commands import listing

    if not chosen:
        console.say("no finished run holds weights: nothing to remove")
        return
    listing.show(chosen, f"to lose their weights, and keep their results: {len(chosen)} runs")
    if not yes and not listing.agreed(chosen, "the weights of "):
        console.say("nothing was removed")
        return
    _bring_level(settings, home, chosen)
    second = tracking.second_names([home.run(row.id) for row in chosen], settings.tracking)
    gone, freed = listing.remove_weights(home, chosen, second)
    replay = console.command("sweeplab replay RUN")
    console.say(f"removed the weights of {len(gone)} runs, {listing.size(freed)}; {replay} puts them back")
    if kept := [row.id for row in chosen if row not in gone]:
        console.say(f"kept, since they are at work: {', '.join(kept)}")


def _compare(given: argparse.Namespace, words: list[str]) -> None:
    """Of the words, those without `=` name sweeps (or two runs); the latest sweep if there is none."""
    from sweeplab.commands import compare

    overrides = [word for word in words if "=" in word]
    compare.main(given, [word for word in words if "=" not in word], _compose(overrides))


def _replay(given: argparse.Namespace, overrides: list[str]) -> None:
    """Exit code 0 if the bits are the same, 1 if not, 2 for a record that is refused."""
    from sweeplab.console import waiting

    with waiting("loading PyTorch"):
        from sweeplab.replay.replay import main as replay
    replay(given.RUN, overrides, given.trust)


if __name__ == "__main__":
    main()
