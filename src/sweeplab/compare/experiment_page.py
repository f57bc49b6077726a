"""`sweeplab compare NAME --write`: the generated part of an experiment's page, `experiments/NAME.md`."""

from __future__ import annotations

import time
from pathlib import Path

from sweeplab.compare import export, figures
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.notes import machines
from sweeplab.errors import UserError
from sweeplab.store import write_atomic

BEGIN, END = "<!-- written by: sweeplab compare {name} --write -->", "<!-- end of what is written -->"
FIGURES = "figures"  # the folder of all experiments' figures, beside their pages


def write(found: Comparison, experiments: Path, name: str) -> Path:
    """Write table, figures, n, machine and date; what stands around that part is kept. Returns the page.

    Raises UserError if there is no such experiment, or its page has lost the end of that part.
    """
    question = experiments / f"{name}.yaml"
    if not question.exists():
        raise UserError(f"--write: {name} is no experiment: there is no {question}")
    page, begin = experiments / f"{name}.md", BEGIN.format(name=name)
    text = page.read_text(encoding="utf-8") if page.exists() else _skeleton(question, name, begin)
    before, _, rest = text.partition(begin)
    if not rest or END not in rest:
        raise UserError(f"--write: {page} needs the lines\n{begin}\n{END}\nbetween which it is written")
    drawn = figures.draw(found)
    (experiments / FIGURES).mkdir(exist_ok=True)
    for drawing in drawn:
        write_atomic(experiments / FIGURES / f"{name}-{drawing.name}.png", drawing.png)
    shown = [f"![{d.title}]({FIGURES}/{name}-{d.name}.png)\n\n{d.caption}\n" for d in drawn]
    body = "\n".join([_made(found), "", export.markdown(found), "", *shown])
    write_atomic(page, f"{before}{begin}\n{body}\n{END}{rest.partition(END)[2]}".encode())
    return page


def _made(found: Comparison) -> str:
    """When, on what, and by which numerics."""
    ended = max(float(sweep.get("ended") or sweep["time"]) for sweep in found.sweeps)
    code = {str(replica.start.get("code", {}).get("numerics", "?")) for replica in found.replicas if replica.start}
    made = [
        f"{time.strftime('%Y-%m-%d', time.gmtime(ended))}; NUMERICS {', '.join(sorted(code))}",
        *machines(found.replicas),
    ]
    return "\n".join(f"- {line}" for line in made)


def _skeleton(question: Path, name: str, begin: str) -> str:
    lines = [
        line.lstrip("# ").rstrip() for line in question.read_text(encoding="utf-8").splitlines() if line.startswith("#")
    ]
    command, *asked = [line for line in lines if line]
    return f"# {name}\n\n{' '.join(asked)}\n\n    {command}\n\n**Verdict.** \n\n{begin}\n{END}\n"
