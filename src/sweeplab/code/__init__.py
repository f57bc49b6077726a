"""What a config calls: its `_target_`s looked up, checked, trusted, built, and their code hashed."""

from sweeplab.code.building import build, instantiate
from sweeplab.code.hashing import NUMERICS, digest, parts
from sweeplab.code.lookup import locate
from sweeplab.code.nodes import targets
from sweeplab.code.signatures import accepts, check
from sweeplab.code.trust import ensure_trusted

__all__ = [
    "NUMERICS",
    "accepts",
    "build",
    "check",
    "digest",
    "ensure_trusted",
    "instantiate",
    "locate",
    "parts",
    "targets",
]
