"""What a config calls: its `_target_`s looked up, checked, trusted, built, and their code hashed."""

from sweeplab.targets.building import build, instantiate
from sweeplab.targets.defaults import is_optional, without_silent
from sweeplab.targets.definition import of_script
from sweeplab.targets.files import exists as is_file
from sweeplab.targets.hashing import NUMERICS, digest, parts
from sweeplab.targets.lookup import locate
from sweeplab.targets.signatures import accepts, check
from sweeplab.targets.trust import ensure_trusted, is_lookup

__all__ = [
    "NUMERICS",
    "accepts",
    "build",
    "check",
    "digest",
    "ensure_trusted",
    "instantiate",
    "is_file",
    "is_lookup",
    "is_optional",
    "locate",
    "of_script",
    "parts",
    "without_silent",
]
