"""Mend all slips of a command line at once: it is composed again with the words that were meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sweeplab.config.composing import compose, ensure_options, quote_words
from sweeplab.config.explanation import explain
from sweeplab.config.slips import MEANT, Mend, meant
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
        if said is None or MEANT not in said or "\n" in said:  # several problems stay together
            raise
        if Mend.of(said, words) is None:  # it is about the first job of a sweep, say
            said = _problem(words, folder, name)
        problems = _problems(said, words, folder, name)
        if not problems:
            raise
        raise UserError(*problems) from error


def _problems(first: str, words: Sequence[str], folder: Path, name: str) -> list[str]:
    """Return one message for all slips of a command line, and what is wrong with it besides.

    `first` is the message about the first of them. Returns nothing if it offers no words.
    """
    line, said = list(words), first
    mends: list[Mend] = []
    while len(mends) < 2 * len(words) and (mend := Mend.of(said, line)):
        mends.append(mend)
        line = mend.applied(line)
        said = _problem(line, folder, name)
    if not mends:
        return []
    changed = {word for mend in mends for word in mend.cure}
    cures = [word for word in line if word in changed]
    if "-m" in cures and not any(words[0] in mend.typed for mend in mends):  # -m stands first
        cures = line
    told = _reasons(mends)
    plain = [word.lstrip("+").replace('"', "") for word in cures]
    if len(mends) == 1 and said.startswith(tuple(f"{word}: " for word in plain)):
        return [f"{told}; {said}"]
    told += meant(*cures)
    return [told, said] if said else [told]


def _reasons(mends: Sequence[Mend]) -> str:
    """Say what is wrong with which words."""
    about: dict[str, list[str]] = {}
    for mend in mends:
        about.setdefault(mend.reason, []).extend(mend.typed)
    return "; ".join(f"{' '.join(words)}: {reason}" for reason, words in about.items())


def _problem(words: Sequence[str], folder: Path, name: str) -> str:
    """Say what is wrong with a command line, of a sweep with its first job; '' if nothing is."""
    try:
        ensure_options(words)
        compose(_first_job(words), folder, name)
    except UserError as error:
        return str(error)
    except Exception as error:
        return explain(error, words, is_composing=True) or str(error)
    return ""


def _first_job(words: Sequence[str]) -> list[str]:
    """Return the settings of a command line; of a sweep, each with its first value."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import IntervalSweep

    settings = [word for word in words if not word.startswith("-")]
    if "-m" not in words:
        return settings
    parser = OverridesParser.create()
    first: list[str] = []
    for override in parser.parse_overrides(quote_words(settings)):
        text = str(override.input_line)
        if override.is_sweep_override():
            value = override.value()
            if isinstance(value, IntervalSweep):  # for a search
                first_value = str(value.start)
            else:
                first_value = next(override.sweep_string_iterator())
            text = f"{override.get_key_element()}={first_value}"
        first.append(text)
    return first
