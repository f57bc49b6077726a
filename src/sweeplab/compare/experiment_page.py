"""The page of an experiment: the part of `experiments/NAME.md` that `compare NAME --write` writes."""

from __future__ import annotations

import time
from pathlib import Path

from sweeplab.compare import export, figures
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.notes import machines
from sweeplab.errors import UserError
from sweeplab.store import write_atomic

BEGIN = "<!-- written by: sweeplab compare {name} --write -->"
END = "<!-- end of what is written -->"
FIGURES = "figures"  # the folder of all experiments' figures, beside their pages


def write(comparison: Comparison, experiments: Path, name: str) -> Path:
    """Write table, figures, n, machine and date, and keep what stands around them; returns the page.

    Raises UserError if there is no such experiment, or its page has lost the end of that part.
    """
    question = experiments / f"{name}.yaml"
    if not question.exists():
        raise UserError(f"--write: {name} is no experiment: there is no {question}")
    page, begin = experiments / f"{name}.md", BEGIN.format(name=name)
    text = f"{_introduction(question, name)}{begin}\n{END}\n"
    if page.exists():
        text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, end, after = rest.partition(END)
    if not end:
        lines = f"{begin}\n{END}"
        raise UserError(f"--write: {page} needs the lines\n{lines}\nbetween which it is written")
    parts = [_provenance(comparison), "", export.markdown(comparison), ""]
    (experiments / FIGURES).mkdir(exist_ok=True)
    for drawing in figures.draw(comparison):
        file = f"{FIGURES}/{name}-{drawing.name}.png"
        write_atomic(experiments / file, drawing.png)
        parts.append(f"![{drawing.title}]({file})\n\n{drawing.caption}\n")
    body = "\n".join(parts)
    write_atomic(page, f"{before}{begin}\n{body}\n{END}{after}".encode())
    return page


def _provenance(comparison: Comparison) -> str:
    """List when the runs were made, by which numerics and on what machines."""
    ended = max(float(sweep.get("ended") or sweep["time"]) for sweep in comparison.sweeps)
    date = time.strftime("%Y-%m-%d", time.gmtime(ended))
    starts = [run.start for run in comparison.replicas if run.start]
    numerics = {str(start.get("code", {}).get("numerics", "?")) for start in starts}
    lines = [f"{date}; NUMERICS {', '.join(sorted(numerics))}", *machines(comparison.replicas)]
    return "\n".join(f"- {line}" for line in lines)


def _introduction(question: Path, name: str) -> str:
    """Write the beginning of a page: the question and the command that its YAML file begins with."""
    comments = []
    for line in question.read_text(encoding="utf-8").splitlines():
        comment = line.lstrip("# ").rstrip()
        if line.startswith("#") and comment:
            comments.append(comment)
    command, *asked = comments
    return f"# {name}\n\n{' '.join(asked)}\n\n    {command}\n\n**Verdict.** \n\n"
