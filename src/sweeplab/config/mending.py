"""Mend all slips of a command line at once: it is composed again with the words that were meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sweeplab.config import slips
from sweeplab.config.composing import compose, ensure_options, quote_words
from sweeplab.config.explanation import explain
from sweeplab.errors import UserError


@contextmanager
def mending(words: Sequence[str], folder: Path, name: str) -> Iterator[None]:
    """Raise what is wrong with a command line as a UserError that names the line that works.

    The config is `name`.yaml of `folder`. What is no slip goes through as it was raised.
    """
    try:
        yield
    except Exception as error:
        said = str(error) if isinstance(error, UserError) else explain(error, words)
        if said is None or slips.MEANT not in said:
            raise
        if not slips.mended(said, words)[0]:  # it is about the first job of a sweep, say
            said = _problem(words, folder, name)
        problems = _problems(said, words, folder, name)
        if not problems:
            raise
        raise UserError(*problems) from error


def _problems(first: str, words: Sequence[str], folder: Path, name: str) -> list[str]:
    """Return one message for all slips of a command line, and what is wrong with it besides.

    `first` is the message about the first of them. Returns nothing if it offers no words.
    """
    line, reason = slips.mended(first, words)
    if not line:
        return []
    reasons, told = {reason: None}, first
    said = _problem(line, folder, name)
    for _ in words:  # each takes a composition
        following, reason = slips.mended(said, line)
        if not following:
            break
        line, told = following, ""
        reasons[reason] = None
        said = _problem(line, folder, name)
    changed = " ".join(word for word in words if word not in line)
    is_all_told = told.lstrip("+").startswith(changed.lstrip("+"))
    if not is_all_told or (" -m " in told and slips.meant(*line) not in told):
        told = _together(words, line, reasons)
    return [told, said] if said else [told]


def _together(words: Sequence[str], line: Sequence[str], reasons: Iterable[str]) -> str:
    """Return one message for several slips; with all words if a -m is to stand before them."""
    typed = [word for word in words if word not in line]
    cures = [word for word in line if word not in words]
    if not cures or "-m" in cures:
        typed, cures = list(words), list(line)
    cure = slips.meant(*cures, has_m="-m" in words)
    return f"{' '.join(typed)}: {'; '.join(reasons)}{cure}"


def _problem(words: Sequence[str], folder: Path, name: str) -> str:
    """Say what is wrong with a command line, of a sweep with its first job; '' if nothing is."""
    try:
        ensure_options(words)
        compose(_first_job(words), folder, name)
    except UserError as error:
        return str(error)
    except Exception as error:
        return explain(error, words) or ""
    return ""


def _first_job(words: Sequence[str]) -> list[str]:
    """Return the settings of a command line; of a sweep, each with its first value."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    settings = [word for word in words if not word.startswith("-")]
    if "-m" not in words:
        return settings
    parser = OverridesParser.create()
    first: list[str] = []
    for override in parser.parse_overrides(quote_words(settings)):
        text = str(override.input_line)
        if override.is_sweep_override():
            text = f"{override.get_key_element()}={next(override.sweep_string_iterator())}"
        first.append(text)
    return first
