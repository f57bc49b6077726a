"""Hydra called from a program that goes on afterwards: a notebook, or a script of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeplab.errors import UserError

if TYPE_CHECKING:
    from hydra._internal.hydra import Hydra
    from omegaconf import DictConfig

OWN_SWEEPERS = "hydra_plugins.hydra_sweeplab."
NOT_OUR_SWEEPER = (
    "plans nothing; name ours in the defaults list of the config: override hydra/sweeper: sweeplab, "
    "and override hydra/launcher: sweeplab"
)
NOT_A_RUN = "is a sweep: sweeplab.sweep takes it; with hydra.mode=RUN it is tried out as one run"


def conf_dir() -> Path:
    """Return the folder of YAML files: inside the installed package, or in a checkout beside
    `src/`.
    """
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


@contextmanager
def hydra_in(folder: Path) -> Iterator[Hydra]:
    """Initialise Hydra on a folder of configs, and leave its global state as it was.

    The program may have initialised Hydra for itself; the next call may have other experiments.
    """
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.version import VersionBase

    hydra, running = GlobalHydra.instance(), HydraConfig.instance()
    version: Any = VersionBase.instance()
    store = ConfigStore.instance().repo
    before = hydra.hydra, running.cfg, version.version_base
    experiments = dict(store.get("experiment", {}))
    hydra.hydra = running.cfg = None
    try:
        with initialize_config_dir(str(folder.absolute()), "train", version_base="1.3"):
            current = GlobalHydra.instance().hydra
            assert current is not None
            yield current
    finally:
        GlobalHydra.set_instance(hydra)
        hydra.hydra, running.cfg, version.version_base = before
        store["experiment"] = experiments


def call(
    task: Callable[[DictConfig], Any],
    overrides: Sequence[str],
    folder: Path,
    name: str,
    *,
    is_sweep: bool,
) -> Any:
    """Compose a config and carry it out as `hydra.main` does for train.py.

    Returns what the task returns, or for a sweep what the sweeper returns, and raises what they
    raise. Raises UserError if a config that is no sweep by this call is one by its own words, and
    for a sweep by another sweeper than ours.
    """
    from hydra.types import RunMode

    returned: list[Any] = []
    raised: list[Exception] = []

    def noted(config: DictConfig) -> None:
        try:
            returned.append(task(config))
        except Exception as error:  # Hydra would add words of its own
            raised.append(error)

    with hydra_in(folder) as hydra:
        if is_sweep:
            words = [*overrides, "hydra.mode=MULTIRUN"]
            composed = hydra.compose_config(name, words, RunMode.MULTIRUN)
            if not (sweeper := composed.hydra.sweeper._target_).startswith(OWN_SWEEPERS):
                raise UserError(f"{name}: its sweeper {sweeper} {NOT_OUR_SWEEPER}")
            return hydra.multirun(name, task, words, False)
        mode = hydra.get_mode(name, list(overrides))
        if mode == RunMode.MULTIRUN:
            words = [word for word in overrides if "experiment" in word or "hydra.mode" in word]
            raise UserError(f"{' '.join(words) or name}: {NOT_A_RUN}")
        hydra.run(name, noted, [*overrides, "hydra.mode=RUN"], False)
    if raised:
        raise raised[0]
    return returned[0]
