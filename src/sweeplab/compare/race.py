"""A sweep without a baseline, as a race: each config against each other; who is worse is out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from sweeplab.compare.contrasts import Contrast
from sweeplab.compare.groups import Group


def losses(contrasts: Sequence[Contrast]) -> dict[Group, Contrast]:
    """Map each config that is worse than another to the contrast that shows it best."""
    shown = [contrast for contrast in contrasts if contrast.is_shown]
    found: dict[Group, Contrast] = {}
    for contrast in sorted(shown, key=lambda contrast: contrast.paired.holm or 0.0):
        lost = contrast.turned() if contrast.is_better else contrast
        found.setdefault(lost.group, lost)
    return found


def rows(groups: Sequence[Group], contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Choose a contrast for each config but the winner.

    That is the one by which it is out, else that with the winner: the first that is not out.
    """
    lost = losses(contrasts)
    winner = next((group for group in groups if group not in lost), groups[0])
    chosen = []
    for group in groups:
        if group is winner:
            continue
        if group in lost:
            chosen.append(lost[group])
            continue
        pair = {group, winner}
        found = next(one for one in contrasts if {one.group, one.against} == pair)
        chosen.append(found if found.group is group else found.turned())
    return [_naming_the_other(contrast) for contrast in chosen]


def _naming_the_other(contrast: Contrast) -> Contrast:
    assert contrast.against is not None
    link = " than " if contrast.is_shown else ", against "
    return replace(contrast, verdict=f"{contrast.verdict}{link}{contrast.against.name}")


def undecided(contrasts: Sequence[Contrast], out: Collection[Group] = ()) -> list[Group]:
    """List the configs that need more seeds, on either side of a contrast that is not settled."""
    groups: dict[Group, None] = {}
    for contrast in contrasts:
        if contrast.is_settled or contrast.against is None:
            continue
        if contrast.group not in out and contrast.against not in out:
            groups |= {contrast.group: None, contrast.against: None}
    return list(groups)
