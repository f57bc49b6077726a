"""Refuse code of a project that was edited after this process had imported it."""

from __future__ import annotations

import marshal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path

from sweeplab.errors import UserError
from sweeplab.targets.sources import code_of

ADVICE = "changed after this process had imported it; importlib.reload it, or restart the kernel"
HEADER = 16  # bytes of a .pyc before its code: PEP 552

_seen: dict[str, tuple[ModuleSpec, str]] = {}  # module -> its import, and its text at that time
_is_long_lived = False


@contextmanager
def long_lived() -> Iterator[None]:
    """Heed edits meanwhile: a notebook imports a module once, and trains many times."""
    global _is_long_lived
    before, _is_long_lived = _is_long_lived, True
    try:
        yield
    finally:
        _is_long_lived = before


def ensure_current(paths: Iterable[str]) -> None:
    """Raise UserError if a module behind these targets is another one in memory than on the disk.

    Otherwise the old code would be trained under the fingerprint of the new. Comments and layout
    do not count. A command of the shell imports once and ends: it is not asked.
    """
    if not _is_long_lived:
        return
    edited = []
    for name, text in code_of(paths).modules.items():
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if spec is None:
            continue
        known, before = _seen.get(name, (None, ""))
        is_current = text == before if known is spec else not _differs_from_cache(spec)
        if is_current:
            _seen[name] = (spec, text)
        else:
            edited.append(f"{spec.origin}: {ADVICE}")
    if edited:
        raise UserError(*edited)


def _differs_from_cache(spec: ModuleSpec) -> bool:
    """Whether a source differs from the bytecode that Python kept when it imported it.

    False if none was kept: then it cannot be told.
    """
    if sys.dont_write_bytecode or type(spec.loader) is not SourceFileLoader:
        return False
    if not spec.origin or not spec.cached:
        return False
    try:
        kept = marshal.loads(Path(spec.cached).read_bytes()[HEADER:])  # noqa: S302 - as import does
        return bool(
            kept != compile(Path(spec.origin).read_bytes(), spec.origin, "exec", dont_inherit=True)
        )
    except (OSError, ValueError, EOFError, TypeError, SyntaxError):
        return False
