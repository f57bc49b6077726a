"""What a config calls: its `_target_`s looked up, checked, trusted, built, and their code hashed."""

from sweeplab.code.building import build, instantiate
from sweeplab.code.defaults import is_optional, without_silent
from sweeplab.code.definition import of_script
from sweeplab.code.files import exists as is_file
from sweeplab.code.hashing import NUMERICS, digest, parts
from sweeplab.code.lookup import locate
from sweeplab.code.nodes import one_line, targets, words
from sweeplab.code.signatures import accepts, check
from sweeplab.code.trust import ensure_trusted, is_lookup

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
    "one_line",
    "parts",
    "targets",
    "without_silent",
    "words",
]
