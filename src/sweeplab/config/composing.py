"""Compose a config as Hydra does, and read what was typed for the running program."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sweeplab.config.hydra_calls import hydra_in
from sweeplab.config.reading import parse
from sweeplab.config.redaction import redact_override, remember_secrets
from sweeplab.config.sections import Config
from sweeplab.errors import UserError

_HOME_PATH = re.compile(r"(\+{0,2}[\w.]+=)(~[^'\",\[\]{}]*)")  # as in store.root=~/runs
_COMMAND = re.compile(r"(\+{0,2}sweep\.then=)(?!['\"])(.*[^\w./-].*)", re.DOTALL)


def compose(overrides: Sequence[str], folder: Path | None = None, name: str = "config") -> Config:
    """Compose the config that `train.py` gets with these overrides, from the file `name`.yaml of
    `folder` or of the package's `conf/`.
    """
    from hydra import compose as hydra_compose

    remember_secrets(overrides)
    with hydra_in(folder or conf_dir()):
        return parse(hydra_compose(name, overrides=quote_words(overrides)))


def conf_dir() -> Path:
    """Return the folder of YAML files: inside the installed package, or in a checkout beside
    `src/`.
    """
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def quote_words(words: Sequence[str]) -> list[str]:
    """Put quotes around `~/runs`, and around the command of `sweep.then`, in the words of a command
    line: Hydra cannot read them without.
    """
    quoted = []
    for word in words:
        command = _COMMAND.fullmatch(word)
        if command is None:
            quoted.append(_HOME_PATH.sub(r"\1'\2'", word))
        else:
            text = re.sub(r"(\\*)'", r"\1\1\\'", command[2])
            quoted.append(f"{command[1]}'{text}'")
    return quoted


def ensure_options(words: Sequence[str]) -> None:
    """Raise UserError for a word of the command line to which Hydra would only answer with its
    usage.
    """
    from hydra._internal.utils import get_args_parser

    unknown = get_args_parser().parse_known_args(list(words))[1]
    if not unknown:
        return
    reason = "settings stand together; give -m and other options before or after all of them"
    if unknown[0].startswith("-"):
        reason = "no such option of train.py; settings are given as key=value, without dashes"
    raise UserError(f"{unknown[0]}: {reason}")


def task_overrides() -> list[str]:
    """Return what the user overrode on the command line of the running Hydra program, secrets
    hidden.
    """
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return []
    words = HydraConfig.get().overrides.task
    return [redact_override(word) for word in words if not word.startswith("sweep.id=")]


def is_job() -> bool:
    """Whether the running Hydra program is a job of a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)
