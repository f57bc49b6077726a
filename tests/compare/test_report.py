"""The report: whole in one file, the same each time, harmless whatever names hold, and complete."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
import shlex
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from compared import add, cell, factorial, manifest, summarise, troubled, widths
from matplotlib.figure import Figure

from sweeplab import compare
from sweeplab.compare import drawing, figures, report
from sweeplab.errors import UserError
from sweeplab.store import Store

PNG = b"\x89PNG\r\n\x1a\n"


def text_of(page: Path) -> str:
    """The words of the page as they are read."""
    body = re.sub(r"<(style|script)>.*?</\1>", "", page.read_text(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def rows(page: Path, section: str) -> list[list[str]]:
    """The cells of the table in this section, line by line."""
    found = re.search(rf'<section id="{section}">.*?</section>', page.read_text(), flags=re.DOTALL)
    assert found
    lines = re.findall(r"<tr>(.*?)</tr>", found[0], flags=re.DOTALL)
    return [
        [html.unescape(re.sub(r"<[^>]*>", "", c)) for c in re.findall(r"<t[dh].*?</t[dh]>", line)]
        for line in lines
    ]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures out, which take seconds, for a test of the words."""
    monkeypatch.setattr(figures, "draw", lambda _: [])


def test_a_report_has_its_figures_and_tables_beside_it(home: Store, root: Path) -> None:
    found = compare.compare(
        factorial(home), home.manifests(), baseline={"batch_norm": "false"}, target=0.9
    )
    page = compare.write_report(found, root / "new" / "folder")
    assert sorted(file.name for file in page.parent.iterdir()) == [
        "curves.png", "effects.png", "epochs_to_target.png", "groups.csv", "importance.csv", "report.html", "runs.csv",
    ]  # fmt: skip
    assert all(file.read_bytes().startswith(PNG) for file in page.parent.glob("*.png"))
    assert len((page.parent / "groups.csv").read_text().splitlines()) == 1 + 6
    assert len((page.parent / "runs.csv").read_text().splitlines()) == 1 + 30
    titles = re.findall(r"<h2>(.*?)</h2>", page.read_text())
    assert titles == [
        "Ranking", "Differences in valid/accuracy", "Learning curves", "Epochs to 0.9", "Main effects",
        "Differences in test/accuracy", "Differences in epochs to 0.9", "Importance", "Commands",
    ]  # fmt: skip


def test_the_page_loads_nothing_and_runs_only_its_own_script(home: Store, root: Path) -> None:
    page = compare.write_report(summarise(home, widths(home)), root / "report").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'\"" in page
    assert re.findall(r"""(?:src|href)=["'](?!#)[^"']*""", page) == []
    assert "@import" not in page
    outside = set(re.findall(r"https?://[^\s\"'<>]+", page))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_the_same_comparison_gives_the_same_bytes(home: Store, root: Path) -> None:
    sweep = widths(home)
    first, second = (
        {file.name: file.read_bytes() for file in compare.write_report(summarise(home, sweep), root / name).parent.iterdir()}
        for name in ("first", "second")
    )  # fmt: skip
    assert first == second


NASTY = (
    "<script>alert(1)</script>",
    "$x$_^",
    "_hidden",
    '"><img src=x onerror=alert(1)>',
    "</style>&amp;",
)


def test_names_do_nothing(home: Store, root: Path) -> None:
    cells = [
        add(home, f"model.kind={kind}", "seed=0", more={"parameters": 10.0 ** len(kind)})
        for kind in NASTY
    ]
    page = compare.write_report(
        summarise(home, manifest(home, cells, "<b>bold</b>")), root / "report"
    )
    text = page.read_text()
    assert text.count("<script>") == 1
    assert "<img" not in text
    assert "<b>" not in text
    assert "<title>&lt;b&gt;bold&lt;/b&gt;</title>" in text
    assert sorted(line[1] for line in rows(page, "ranking")[1:]) == sorted(NASTY)
    svg = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(svg) == 3
    drawn = " ".join("".join(ET.fromstring(one).itertext()) for one in svg)  # noqa: S314  # our own; well-formed
    assert all(f"kind={kind}"[:24] in drawn for kind in NASTY)


@pytest.mark.usefixtures("undrawn")
def test_what_failed_is_told_with_its_command(home: Store, root: Path) -> None:
    page = compare.write_report(summarise(home, troubled(home)), root / "report")
    told = {line[0]: line[2:] for line in rows(page, "what-is-not-in-the-means")[1:]}
    assert told["hidden=8 seed=1"] == [
        "failed: ValueError: no", "python train.py model.hidden=8 seed=1",
    ]  # fmt: skip
    assert told["hidden=8 seed=2"][0] == "missing: never started, or removed"
    assert told["hidden=16 seed=0"][0] == "test/accuracy is nan"
    assert len(told) == 8
    assert (
        "10 runs of 4 configs: 5 finished, 1 failed, 1 interrupted, 2 missing, 1 unfinished"
        in text_of(page)
    )


@pytest.mark.usefixtures("undrawn")
def test_the_head_says_what_won_and_how_it_was_chosen(home: Store, root: Path) -> None:
    text = text_of(compare.write_report(summarise(home, widths(home)), root / "report"))
    assert (
        "Best: hidden=784, valid/accuracy 0.9700 ± 0.0248, test/accuracy 0.8000 ± 0.0000, n = 3."
        in text
    )
    assert (
        "test/accuracy is measured once, with the weights of the best epoch: nothing is ranked or chosen by it"
        in text
    )
    assert "finished 2027-01-15 08:01 UTC" in text
    assert "content-visibility" not in text, "captures and paper would be blank"


@pytest.mark.usefixtures("undrawn")
def test_the_verdict_stands_in_the_box_at_the_top(home: Store, root: Path) -> None:
    """With its p; of several configs without a baseline, how far their intervals overlap."""
    pair = widths(home)
    several = next(sweep for sweep in factorial(home).manifests() if sweep["id"] != pair)
    boxes = []
    for sweep in (home.manifest(pair), several):
        page = compare.write_report(compare.compare(home, [sweep]), root / "report").read_text()
        boxes.append(page.split("<div class=best><p>")[1].split("</p>")[0])
        assert page.count(boxes[-1].removeprefix("Verdict: ").removesuffix(".")) == 1, "told once"
    verdict, lead = boxes
    words = "Verdict: hidden=784 against hidden=392: 3 pairs cannot tell; best valid/accuracy "
    assert verdict == f"{words}+0.0200 (-0.0048 to +0.0448), p = 0.074 (paired by seed)."
    assert lead == "Verdict: no other interval overlaps with that of the best."


@pytest.mark.usefixtures("undrawn")
def test_numbers_sort_by_their_values(home: Store, root: Path) -> None:
    page = compare.write_report(summarise(home, widths(home)), root / "report")
    (ranking,) = re.findall(
        r'<section id="ranking">.*?</section>', page.read_text(), flags=re.DOTALL
    )
    assert re.findall(r'data-v="([^"]*)">0\.9[^<]*<', ranking)[0].startswith("0.97")
    assert 'data-v="1000.0">1,000<' in ranking


def test_a_row_has_the_command_for_all_its_seeds(home: Store) -> None:
    cells = [
        add(home, "model.hidden=[8,4]", "model.activation=a b", f"seed={seed}") for seed in (0, 1)
    ]
    (one,) = summarise(
        home, manifest(home, [*cells, cell([*cells[0]["overrides"][:2], "seed=2"])])
    ).groups
    assert shlex.split(report.command(one.replicas)) == [
        "python", "train.py", "-m", "model.hidden=[8,4]", "model.activation=a b", "seed=0,1,2",
    ]  # fmt: skip
    assert report.command(one.replicas[:1]).startswith("python train.py 'model.hidden=[8,4]' ")


def test_what_a_figure_leaves_out_is_said(home: Store) -> None:
    cells = [
        add(
            home,
            f"model.hidden={width}",
            "seed=0",
            valid=[0.9, 0.99],
            more={"parameters": float(width)},
        )
        for width in range(1, 31)
    ]
    drawn = {one.name: one.caption for one in figures.draw(summarise(home, manifest(home, cells)))}
    said = "The best 8 of 30 configs are drawn. A narrow screen shows the best 4."
    assert drawn["curves"].endswith(said)
    assert drawn["epochs_to_target"].endswith("The soonest 20 of 30 are drawn.")
    assert list(drawn) == ["curves", "parameters", "epochs_to_target", "effects"]


def test_there_is_nothing_to_draw_of_runs_that_never_started(home: Store, root: Path) -> None:
    found = summarise(
        home, manifest(home, [cell(["model.hidden=8", "seed=0"]), cell(["model.hidden=9"])])
    )
    assert figures.draw(found) == []
    assert found.notes == ["no run has a valid/accuracy to compare yet"]
    assert found.metrics() == {}
    assert "Best:" not in text_of(compare.write_report(found, root / "report"))


def test_diverging_curves_are_drawn_as_far_as_they_are_numbers(home: Store) -> None:
    cells = [
        add(home, "seed=0", valid=[0.5, math.nan], stop_reason="diverged"),
        add(home, "seed=1", valid=[0.5, 0.6]),
    ]
    (drawn,) = figures.draw(summarise(home, manifest(home, cells)))
    assert (drawn.name, drawn.png[:8]) == ("curves", PNG)


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("rates", "drawn"),
    [
        (([0.1, 0.1], [0.1, 0.1]), False),
        (([0.1, 0.05], [0.1, 0.05]), True),
        (([0.1, 0.1], [0.2, 0.2]), True),
        (([0.1, 0.0], [3.0, 0.0]), True),
        (([0.1, 1e-9], [3.0, 1e-9]), True),
    ],
)
def test_learning_rates_are_drawn_if_they_change_or_differ(
    home: Store, rates: tuple[list[float], list[float]], drawn: bool
) -> None:
    cells = [
        add(home, f"model.hidden={number}", "seed=0", rates=each)
        for number, each in enumerate(rates, 1)
    ]
    found = {one.name: one for one in figures.draw(summarise(home, manifest(home, cells)))}
    assert ("learning_rates" in found) is drawn
    if drawn:
        assert found["learning_rates"].title == "Learning rate"
        assert "train/lr" in found["learning_rates"].svg


def test_the_pareto_front_by_hand() -> None:
    points = [(10, 0.90), (10, 0.92), (20, 0.91), (20, 0.95), (30, 0.95), (40, 0.97)]
    assert figures.pareto(points, "max") == [1, 3, 5]
    assert figures.pareto(points, "min") == [0]


def test_names_on_the_front_do_not_lie_on_one_another(home: Store) -> None:
    """As in a search: a near value, and names that reach from one end to the other's."""
    cells = []
    for size, value in ((626, 0.90), (1242, 0.958), (2474, 0.983), (4938, 0.2), (5000, 0.0)):
        words = (f"model.hidden={size}", f"optimizer.lr={size / 123457}", "seed=0")
        cells.append(add(home, *words, valid=[value], more={"parameters": float(size)}))
    plot = figures.parameters(summarise(home, manifest(home, cells)))
    assert plot is not None
    plot[0].draw_without_rendering()
    boxes = [text.get_window_extent() for text in plot[0].axes[0].texts]
    assert len(boxes) == 3
    assert not boxes[1].overlaps(boxes[2])


def test_colours_come_from_the_page(home: Store) -> None:
    for drawn in figures.draw(summarise(home, widths(home))):
        style = " ".join(re.findall(r'style="([^"]*)"', drawn.svg))
        assert "var(--ink,#010203)" in style
        assert re.findall(r"(?<!,)#[0-9a-f]{6}", style) == []


@pytest.mark.usefixtures("undrawn")
def test_a_folder_that_cannot_be_made_is_refused(home: Store, root: Path) -> None:
    (root / "file").write_text("")
    with pytest.raises(UserError, match=r"^--report=.*/file: .*; name a folder that can be made$"):
        compare.write_report(summarise(home, widths(home)), root / "file")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium on this machine")
def test_a_browser_runs_the_script_and_no_name(home: Store, root: Path) -> None:
    kinds = ["<script>document.title='bad'</script>", "<img src=x onerror=document.title='bad'>"]
    cells = [
        add(home, f"model.kind={kind}", "seed=0", valid=[0.5 + index / 10])
        for index, kind in enumerate(kinds)
    ]
    page = compare.write_report(summarise(home, manifest(home, cells, "fine")), root / "report")
    words = [
        "chromium",
        "--headless",
        "--no-sandbox",
        f"--user-data-dir={root / 'browser'}",
        "--dump-dom",
        page.as_uri(),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert "<title>fine</title>" in done.stdout
    assert (
        "<td class=\"text\">&lt;script&gt;document.title='bad'&lt;/script&gt;</td>" in done.stdout
    )


@pytest.mark.full
def test_a_table_too_long_for_a_browser_says_what_it_leaves_out(
    home: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST_ROWS", 4)
    found = compare.compare(
        factorial(home), home.manifests(), baseline={"batch_norm": "false"}, target=0.9
    )
    page = compare.write_report(found, root / "report")
    assert [line[0] for line in rows(page, "ranking")[1:]] == ["1", "2", "3", "4"]
    assert "... and 2 more configs: groups.csv has all" in text_of(page)
    assert len(rows(page, "commands")) == 1 + 4
    assert "... and 2 more configs: their values are in groups.csv" in text_of(page)
    assert len(rows(page, "differences-in-valid-accuracy")) == 1 + 3
    assert len((page.parent / "groups.csv").read_text().splitlines()) == 1 + 6


@pytest.mark.full
def test_of_many_configs_some_are_dots_and_that_is_said(
    home: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "MOST_DOTS", 10)
    cells = [
        add(home, f"model.hidden={width}", "seed=0", more={"parameters": float(width)})
        for width in range(1, 26)
    ]
    drawn = {one.name: one for one in figures.draw(summarise(home, manifest(home, cells)))}
    said = " Of 25 configs one in 3 has a dot; means and lines are of all."
    assert drawn["parameters"].caption.endswith(said)
    assert drawn["effects"].caption.endswith(said)
    assert "has a dot" not in drawn["curves"].caption


def test_the_mean_at_a_value_is_over_all_configs_that_have_it() -> None:
    panel = Figure().subplots()
    figures._plot_effect(panel, "hidden", [("8", 0.5), ("16", 0.8), ("8", 0.7), ("4", 0.1)])
    dots, means = panel.lines
    assert list(zip(*dots.get_data(), strict=True)) == [(8, 0.5), (16, 0.8), (8, 0.7), (4, 0.1)]
    assert list(zip(*means.get_data(), strict=True)) == [(4, 0.1), (8, 0.6), (16, 0.8)]


def test_coordinates_are_cut_and_names_are_not() -> None:
    svg = '<svg width="9"><path d="M 1.23456 20.5"/><text x="0.125">rate=0.12345</text></svg>'
    assert drawing.inline(svg) == (
        '<svg><path d="M 1.23 20.5"/><text x="0.12">rate=0.12345</text></svg>'
    )
