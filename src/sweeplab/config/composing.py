"""Hydra's side: what composes a config, what was typed for it, and what its exceptions say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sweeplab.config.reading import parse
from sweeplab.config.redaction import redact_override, remember_secrets
from sweeplab.config.sections import Config
from sweeplab.errors import UserError


def compose(overrides: Sequence[str], folder: Path | None = None) -> Config:
    """The config that `train.py` would get with these overrides, from the `conf/` of the project or the package."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    remember_secrets(overrides)
    with initialize_config_dir(str(folder or conf_dir()), version_base="1.3"):
        return parse(hydra_compose("config", overrides=quote_home(overrides)))


def conf_dir() -> Path:
    """The folder of YAML files: inside the installed package, in a checkout beside `src/`."""
    package = Path(__file__).resolve().parents[1]
    return next(folder for folder in (package / "conf", package.parents[1] / "conf") if folder.is_dir())


def quote_home(words: Sequence[str]) -> list[str]:
    """The words of a command line, with quotes around `~/runs`, which Hydra cannot read without them."""
    return [re.sub(r"(\+{0,2}[\w.]+=)(~[^'\",\[\]{}]*)", r"\1'\2'", word) if "=~" in word else word for word in words]


def ensure_options(words: Sequence[str]) -> None:
    """Raise UserError for a word of the command line that Hydra's parser would refuse with its usage."""
    from hydra._internal.utils import get_args_parser

    unknown = get_args_parser().parse_known_args(list(words))[1]
    if unknown and not unknown[0].startswith("-"):
        raise UserError(f"{unknown[0]}: settings stand together; give -m and other options before or after all of them")
    if unknown:
        raise UserError(f"{unknown[0]}: no such option of train.py; settings are given as key=value, without dashes")


def task_overrides() -> list[str]:
    """What the user overrode on the command line of the running Hydra program, secrets hidden."""
    from hydra.core.hydra_config import HydraConfig

    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return [redact_override(override) for override in given if not override.startswith("sweep.id=")]


def is_job() -> bool:
    """Whether the running Hydra program is a job of a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)
