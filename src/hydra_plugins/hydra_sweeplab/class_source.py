"""Let Hydra take a class for an option of a group, as in model=mine.Net."""

from __future__ import annotations

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

from sweeplab.targets.options import is_class_path, option_of


class ClassSource(ConfigSource):
    """Has every class that can be imported as an option, and lists none."""

    @staticmethod
    def scheme() -> str:
        return "class"

    def load_config(self, config_path: str) -> ConfigResult:
        group, _, path = config_path.rpartition("/")
        return ConfigResult(
            provider=self.provider,
            path=f"class://{path}",
            config=OmegaConf.create(option_of(group, path)),
            header={"package": None},
        )

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        del config_path
        return False

    def is_config(self, config_path: str) -> bool:
        group, _, path = config_path.rpartition("/")
        return is_class_path(group, path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        del config_path, results_filter
        return []
