"""The table of a paper: digits, bold, footnotes, and LaTeX whatever names hold."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from compared import Node, add, factorial, manifest, summarise, troubled, widths
from conftest import Command

from benchmarks.importance import bold
from sweeplab import compare
from sweeplab.compare.latex import escaped, latex, number
from sweeplab.compare.statistics import Mean
from sweeplab.store import Store

NASTY = r"a_b%c&d#e$f~g^h\i{j}k[l]<m>|`n--o*"


@pytest.fixture
def home(root: Path) -> Store:
    (root / "runs" / "sweeps").mkdir(parents=True)
    return Store(root / "runs")


def rows(text: str) -> list[list[str]]:
    """The cells of the rows, header first; every brace is closed, in every line."""
    unescaped = text.replace(r"\\", "").replace(r"\{", "").replace(r"\}", "")
    assert all(line.count("{") == line.count("}") for line in unescaped.splitlines())
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0].replace(r"\midrule", "")
    lines = [
        line.strip().removesuffix(r" \\") for line in body.strip().splitlines() if line.strip()
    ]
    return [re.split(r" (?<!\\)& ", line) for line in lines]


def mean(value: float, half: float | None, most: float = 1e9) -> Mean:
    return Mean(mean=value, half=half, n=3, most=most)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (mean(0.98123, 0.00234), r"0.9812 \pm 0.0023"),
        (mean(0.98126, 0.0996), r"0.98 \pm 0.10"),
        (mean(0.98126, 0.00996), r"0.981 \pm 0.010"),
        (mean(12.345, 1.25), r"12.3 \pm 1.2"),
        (mean(12345.0, 678.0), r"12340 \pm 680"),
        (mean(0.5, None), "0.5000"),
        (mean(0.5, 0.0), r"0.5000 \pm 0.0000"),
        (mean(0.0, 0.0), r"0.0000 \pm 0.0000"),
        (mean(-0.5, 1.5), r"-0.5 \pm 1.5"),
        (mean(3.214e-5, 1.2e-7), r"(3.214 \pm 0.012) \times 10^{-5}"),
        (mean(2.5e7, None), r"2.5000 \times 10^{7}"),
        (mean(0.99, 0.0213, most=1.0), r"0.990\ [0.969, 1.000]"),
    ],
)
def test_digits_are_those_of_the_interval(found: Mean, expected: str) -> None:
    assert number(found, 4) == expected


def test_whatever_is_typed_is_escaped() -> None:
    assert escaped(NASTY) == (
        r"a\_b\%c\&d\#e\$f\textasciitilde{}g\textasciicircum{}h\textbackslash{}i\{j\}k{[}l]"
        r"\textless{}m\textgreater{}\textbar{}\`{}n-{}-o{*}"
    )
    assert escaped("two\nlines, a bell\x07, 한글 →") == "two lines, a bell, 한글 →"
    assert escaped("-0.5") == "$-0.5$"


def test_what_cannot_be_told_from_the_best_is_bold(home: Store) -> None:
    """0.1 with norm is better than all others by 0.02; without it the three rates are the same."""
    factorial(home)
    text = latex(compare.compare(home, home.manifests()))
    assert rows(text) == [
        ["rate", r"batch\_norm", "best valid/accuracy", "test/accuracy", "parameters"],
        ["0.1", "true", r"$\mathbf{0.92006 \pm 0.00043}$", r"$0.520 \pm 0.020$", "1,000"],
        ["0.4", "true", r"$0.9001003 \pm 0.0000021$", r"$0.520 \pm 0.020$", "1,000"],
        ["0.1", "false", r"$0.89992 \pm 0.00053$", r"$0.520 \pm 0.020$", "1,000"],
        ["0.2", "false", r"$0.89992 \pm 0.00053$", r"$0.520 \pm 0.020$", "1,000"],
        ["0.4", "false", r"$0.89992 \pm 0.00053$", r"$0.520 \pm 0.020$", "1,000"],
        ["0.2", "true", r"$0.87994 \pm 0.00043$", r"$0.520 \pm 0.020$", "1,000"],
    ]
    assert r"over $n = 5$ seeds, ranked by best valid/accuracy. Bold:" in text
    assert r"($p \geq 0.05$, corrected for 5 comparisons by Holm's method)" in text
    assert r"\label{tab:norms}" in text
    assert text.startswith(f"% by sweeplab compare --latex, of sweep {home.manifests()[0]['id']}\n")


def test_the_truly_best_config_is_bold_in_most_simulated_sweeps() -> None:
    """In 97 of 100 or more, by benchmarks/README.md; with a lead of 1 SD the bold ones are fewer."""
    table = bold(np.random.default_rng(0), 500)
    for row in table.rows:
        of_equals, n_bold, _, _, of_the_best, n_bold_then = (
            float(cell.split()[0]) for cell in row[2:]
        )
        assert of_equals >= 95
        assert of_the_best >= 99
        assert 1 < n_bold_then < n_bold <= int(row[0])


def test_a_baseline_has_a_column_of_differences(home: Store) -> None:
    """The wider one is better by 0.01, 0.02 and 0.03: 0.02 ± 4.303 x 0.01 / sqrt(3), p = 0.07."""
    text = latex(summarise(home, widths(home)))
    assert rows(text) == [
        ["hidden", "best valid/accuracy", "difference", "test/accuracy", "epochs to 0.98", "parameters"],
        ["784", r"$\mathbf{0.970 \pm 0.025}$", r"$+0.020 \pm 0.025$", r"$0.8000 \pm 0.0000$",
         r"$\geq 2.7 \pm 1.4$", "1,000"],
        ["392", r"$\mathbf{0.9500 \pm 0.0000}$", "--", r"$0.9000 \pm 0.0000$",
         r"$\geq 3.0 \pm 0.0$", "1,000"],
    ]  # fmt: skip
    assert "Difference: best valid/accuracy minus that of model.hidden=392, paired." in text
    assert r"$\geq$: a run that did not reach 0.98 counts with the limit of 3 epochs." in text


def test_bold_takes_looks_into_account(home: Store) -> None:
    """Five differences with t = 3.3 and p = 0.03: at the first of three looks that is 0.084."""
    cells = []
    for seed, lead in enumerate((0.0006, 0.0046, 0.0066, 0.0086, 0.0126)):
        cells.append(add(home, "model.hidden=8", f"seed={seed}", valid=[0.9]))
        cells.append(add(home, "model.hidden=16", f"seed={seed}", valid=[0.9 + lead]))
    for cell in cells:
        cell["group"] = cell["overrides"][0]
    sweep = home.manifest(manifest(home, cells))
    assert r"\mathbf" not in rows(latex(compare.compare(home, [sweep])))[2][1]
    text = latex(
        compare.compare(home, [sweep | {"looks": {"first": 0, "after": (5, 10, 20), "taken": 1}}])
    )
    assert r"\mathbf" in rows(text)[2][1]
    assert "hold at whatever look a config stopped" in text


def test_what_failed_is_a_footnote(home: Store) -> None:
    text = latex(summarise(home, troubled(home)))
    header, first, second, third, last = rows(text)
    assert header[:2] == ["hidden", "$n$"]
    assert first[:3] == ["8", "1", r"$0.9000$\textsuperscript{a}"]
    assert second[1:4] == [
        "3", r"$0.77 \pm 0.14$\textsuperscript{b}", r"$0.5000 \pm 0.0000$\textsuperscript{c}"
    ]  # fmt: skip
    assert (third[2], last[2]) == (r"--\textsuperscript{d}", r"--\textsuperscript{e}")
    assert (
        r"\textsuperscript{a}~of 4 runs 1 failed, 1 interrupted, 1 missing. "
        r"\textsuperscript{b}~of 4 runs 1 diverged, 1 diverged, and counts with its best epoch before. "
        r"\textsuperscript{c}~test/accuracy of 2 runs. \textsuperscript{d}~of 1 run 1 unfinished."
    ) in text
    assert "Bold" not in text, "there is no pair to test"


def test_one_seed_has_no_interval_and_no_test(home: Store) -> None:
    cells = [add(home, f"model.hidden={width}", "seed=0", valid=[width / 10]) for width in (5, 6)]
    text = latex(summarise(home, manifest(home, cells)))
    assert [row[1] for row in rows(text)[1:]] == ["$0.6000$", "$0.5000$"]
    assert "One run of each config, ranked by best valid/accuracy: nothing is known" in text


def nasty(home: Store) -> Node:
    cells = [
        add(home, f"model.hidden={width}", f"model.x_y={NASTY!r}" if width == 1 else "model.x_y=-1", f"seed={seed}",
            valid=[0.5 + seed / 100 * width], task="regression")
        for width in (1, 2) for seed in range(3)
    ]  # fmt: skip
    return home.manifest(manifest(home, cells, experiment="of_mine #1"))


def test_it_is_printed_or_written(home: Store, sweeplab: Command, tmp_path: Path) -> None:
    factorial(home)
    text = latex(compare.compare(home, home.manifests()))
    assert sweeplab("compare", "norms", "--latex").out == text
    assert sweeplab("compare", "norms", "--latex", "tracking=off").out == text, "an override"
    ended = sweeplab("compare", "norms", "--latex", str(tmp_path / "new" / "table.tex"))
    assert ended.out.endswith(f"written: {tmp_path}/new/table.tex\n")
    assert (tmp_path / "new" / "table.tex").read_text() == text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--latex", "norms"], "--latex=norms: name a file that ends in .tex; to print that of a sweep, type its name first: norms --latex\n"),
        (["norms", "--latex=/proc/no.tex"], "--latex=/proc/no.tex: No such file or directory; name a file that can be written\n"),
        (["norms", "--latex=/proc/no/no.tex"], "--latex=/proc/no/no.tex: No such file or directory; name a file that can be written\n"),
        (["norms", "--latex", "--json"], "--json: cannot be given with --latex"),
        (["0123", "4567", "--latex"], "--csv, --latex, --report, --where, --baseline, --target and --margin are for sweeps, not for two runs\n"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused(
    home: Store, sweeplab: Command, words: list[str], said: str
) -> None:
    manifest(home, [add(home, "seed=0")], experiment="norms")
    ended = sweeplab("compare", *words)
    assert ended.code == 2
    assert said in ended.err


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")
def test_it_compiles(home: Store, tmp_path: Path) -> None:
    factorial(home)
    sweeps = [home.manifests()[0], home.manifest(troubled(home)), nasty(home)]
    texts = [latex(compare.compare(home, [sweep])) for sweep in sweeps]
    page = r"\documentclass{article}\usepackage{booktabs}\begin{document}%s\end{document}"
    (tmp_path / "page.tex").write_text(page % "\n".join(texts))
    words = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
