"""Let Hydra find the experiments of a project, and the configs that ship with sweeplab."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from sweeplab.config import conf_dir, defaults, unreadable
from sweeplab.errors import UserError


class SweeplabSearchPath(SearchPathPlugin):
    """Makes `experiments/*.yaml`, which lie beside the main `conf/`, the options of the group
    `experiment`.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for entry in search_path.get_path():
            if entry.provider == "main" and entry.path is not None:
                register_experiments(
                    Path(entry.path.removeprefix("file://")).parent / "experiments"
                )
        search_path.append("sweeplab", f"file://{conf_dir()}")
        search_path.append("class", "class://")


def register_experiments(folder: Path) -> None:
    """Register each YAML file of the folder as `experiment=NAME`, tracked in the MLflow experiment
    of that name.
    """
    for file in sorted(folder.glob("*.yaml")):
        try:
            node = OmegaConf.load(file)
        except (YAMLError, UnicodeError) as error:
            raise UserError(unreadable(file, error)) from error
        if not isinstance(node, DictConfig):
            raise UserError(f"{file}: must be a mapping of keys to values, as the config is")
        named = OmegaConf.merge({"tracking": {"experiment": file.stem}}, node)
        ConfigStore.instance().store(
            group="experiment", name=file.stem, node=named, package="_global_"
        )


ConfigStore.instance().store(name="sections", node=defaults(), provider="sweeplab")
