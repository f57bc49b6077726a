"""What it takes to tell what a comparison cannot, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from sweeplab import console, metrics
from sweeplab.compare.contrasts import Contrast
from sweeplab.compare.power import LOOKED_AT_ONCE, MOST, POWER_TEXT, Need

MOST_SHOWN = 3  # contrasts: the table has all


def need_notes(contrasts: Sequence[Contrast]) -> list[str]:
    """Say how many pairs, runs and seconds it takes, of the contrasts that take least."""
    undecided = [contrast for contrast in contrasts if contrast.need is not None]
    undecided.sort(key=_pairs)
    notes = [_sentence(contrast) for contrast in undecided[:MOST_SHOWN]]
    more = len(undecided) - MOST_SHOWN
    if more > 0:
        notes.append(f"{more} more cannot tell: the column 'pairs needed' has what they take")
    if any(contrast.is_limited and contrast.cannot_tell for contrast in contrasts):
        notes.append(
            "how many pairs it takes is not said of runs that count with the limit of epochs: "
            "give them more trainer.epochs first"
        )
    return notes


def _pairs(contrast: Contrast) -> float:
    assert contrast.need is not None
    return contrast.need.pairs or float("inf")


def _sentence(contrast: Contrast) -> str:
    need, difference = contrast.need, contrast.paired.difference
    assert need is not None
    assert difference is not None
    size = console.two_digits(abs(difference.mean))
    begin = f"{contrast.group.name}: {difference.n} pairs cannot tell"
    once = "" if contrast.looked is None else f" {LOOKED_AT_ONCE}"
    if need.pairs is None:
        why = f"a difference of {size} would need more than {MOST:,}"
        if difference.mean == 0:
            why = "their mean difference is 0"
        least = console.two_digits(need.detectable)
        can = f"{difference.n} pairs{once} can show a difference of {least}"
        return f"{begin}; {why}, and {can} ({POWER_TEXT})"
    if contrast.looked is not None:
        return f"{begin}; a difference of {size} would need about {need.text} new pairs{once} ({POWER_TEXT})"
    cost = _cost(contrast, need, difference.n)
    return f"{begin}; a difference of {size} would need about {need.text} ({POWER_TEXT}): {cost}"


def _cost(contrast: Contrast, need: Need, n: int) -> str:
    """Write `12 to 58 more runs, 4 min to 15 min of one worker`."""
    assert contrast.against is not None
    sides = (contrast.group, contrast.against)
    times = [mean.mean for side in sides if (mean := side.mean(metrics.SECONDS)) is not None]
    numbers = [pairs - n for pairs in (need.pairs, need.at_most) if pairs is not None]
    runs = [f"{2 * number:,}" for number in dict.fromkeys(numbers)]
    text = f"{' to '.join(runs)} more runs"
    if len(times) < len(sides):
        return text
    seconds = [console.duration(number * sum(times)) for number in numbers]
    return f"{text}, {' to '.join(dict.fromkeys(seconds))} of one worker"
