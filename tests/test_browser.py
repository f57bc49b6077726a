"""What a person sees, in a real browser: the report, and the links into MLflow's UI that sweeplab prints."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import flip
import pytest
from compared import add, factorial, manifest
from feeding import feed
from playwright.sync_api import Browser, Page, expect, sync_playwright

from sweeplab import compare, config, tracking
from sweeplab.store import Store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)"
    ),
]
SLOW = 60_000  # milliseconds that MLflow's pages may take on a busy machine


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    yield page
    page.close()


def column(page: Page, number: int) -> list[str]:
    """A column of the ranking, from top to bottom."""
    return page.locator(f"#ranking tbody tr:visible td:nth-child({number})").all_inner_texts()


def test_the_report_sorts_and_filters_and_asks_nobody_for_anything(page: Page, root: Path) -> None:
    home = Store(root / "runs").open()
    file = compare.write_report(compare.compare(home, factorial(home).manifests()), root / "report")
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    assert asked == [file.as_uri()]
    heads = page.locator("#ranking thead th").all_inner_texts()
    size = heads.index("parameters") + 1
    before = column(page, 1)
    assert before == sorted(before, key=int), "ranked"
    page.locator("#ranking thead th").nth(size - 1).click()
    numbers = [int(text.replace(",", "")) for text in column(page, size)]
    assert numbers == sorted(numbers)
    page.locator("#ranking thead th").nth(size - 1).click()
    assert [int(text.replace(",", "")) for text in column(page, size)] == numbers[::-1]
    assert page.locator("svg").count() >= 2
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        style = "getComputedStyle(document.body)"
        ink, paper = page.evaluate(f"[{style}.color, {style}.backgroundColor]")
        assert (brightness(ink) < brightness(paper)) == (scheme == "light")
    assert said == []


def brightness(colour: str) -> float:
    """Of `rgb(1, 2, 3)`."""
    return sum(float(number) for number in re.findall(r"[\d.]+", colour)[:3])


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A root with two sweeps in MLflow, and the links that the second one printed."""
    root = tmp_path_factory.mktemp("swept")
    words = ("-m", "data=digits", "trainer.epochs=3", "tracking.wait=90", "sweep.report=false")
    with flip.inside(root):
        other = flip.train(*words, "model.hidden=8", "seed=0,1")
        done = flip.train(*words, "model.hidden=16,24", "seed=range(5)")
    assert (other.code, done.code) == (0, 0), other.text + done.text
    return root, dict(re.findall(r"^  (configs|side by side): (http\S+)$", done.text, re.MULTILINE))


@pytest.fixture(scope="module")
def ui(swept: tuple[Path, dict[str, str]]) -> Iterator[tuple[str, str]]:
    """`sweeplab ui`: its address, and what it printed."""
    root, _ = swept
    command = [sys.executable, "-u", "-m", "sweeplab.commands.cli", "ui", "--port", "5900"]
    gone = ("MLFLOW_TRACKING_URI", "SWEEPLAB_ROOT")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    with (
        (root / "ui").open("wb") as out,
        subprocess.Popen(command, cwd=root, stdout=out, env=environment) as process,
    ):
        deadline = time.monotonic() + 120
        while "Ctrl-C ends it" not in (said := (root / "ui").read_text()):
            assert process.poll() is None
            assert time.monotonic() < deadline, said
            time.sleep(0.2)
        base = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert base is not None
        yield base[0], said
        process.send_signal(signal.SIGTERM)


@pytest.mark.server
def test_the_printed_link_opens_on_the_configs_without_a_click(
    page: Page, swept: tuple[Path, dict[str, str]], ui: tuple[str, str]
) -> None:
    links, (base, said) = swept[1], ui
    assert sorted(links) == ["configs", "side by side"]
    here = links["configs"].replace("http://127.0.0.1:5000", base)
    assert here in said, "sweeplab ui prints the same"
    page.set_viewport_size(
        {"width": 1280, "height": 1300}
    )  # charts are drawn when they come into view
    page.goto(here)
    charts = page.locator(".js-plotly-plot")
    expect(charts).to_have_count(3, timeout=SLOW)
    expect(charts.nth(0).locator(".scatterlayer path.js-fill")).to_have_count(2)  # bands
    for hidden in (16, 24):
        expect(page.get_by_text(f"{hidden} (valid/accuracy)", exact=True)).to_be_visible()
    for number in (1, 2):
        expect(charts.nth(number).locator(".barlayer .point")).to_have_count(2)
    axes = page.locator(".parcoords text.label").all_text_contents()
    assert axes == ["model.hidden", "test/accuracy", "valid/accuracy"]
    heading = "2 configs; bars: valid of the last epoch, test of the best"
    expect(page.get_by_text(heading)).to_be_visible()
    assert page.get_by_text("8 (valid/accuracy)", exact=True).count() == 0, "no other sweep"
    expect(page.get_by_text("other metrics")).to_be_visible()
    if folder := os.environ.get("SWEEPLAB_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/configs.png")


@pytest.mark.server
def test_the_page_of_the_experiment_leads_there(
    page: Page, swept: tuple[Path, dict[str, str]], ui: tuple[str, str]
) -> None:
    key = re.search(r"experiments/(\d+)/.*viewStateShareKey=(\S+?)&", swept[1]["configs"])
    assert key is not None
    page.goto(f"{ui[0]}/#/experiments/{key[1]}")
    link = page.locator("a", has_text=re.compile("^configs$"))
    expect(link).to_be_visible(timeout=SLOW)
    href = link.get_attribute("href")
    assert href is not None
    assert href.startswith(f"#/experiments/{key[1]}/runs?viewStateShareKey={key[2]}&")


@pytest.mark.server
def test_the_compare_page_has_parallel_coordinates_over_the_swept_key(
    page: Page, swept: tuple[Path, dict[str, str]], ui: tuple[str, str]
) -> None:
    page.goto(swept[1]["side by side"].replace("http://127.0.0.1:5000", ui[0]))
    expect(page.get_by_text("Comparing 10 Runs", exact=False).first).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("Parallel Coordinates", exact=False).first).to_be_visible(timeout=SLOW)
    expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("model.hidden").first).to_be_visible(timeout=SLOW)
    axes = page.locator(".js-plotly-plot").first.locator("text").all_text_contents()
    assert {"model.hidden", "seed"} <= set(axes)
    if folder := os.environ.get("SWEEPLAB_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/compare.png")


@pytest.mark.full
@pytest.mark.server
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # mlflow's own code
def test_the_configs_of_a_thousand_runs_are_there_within_eight_seconds(
    browser: Browser, home: Store, uri: str
) -> None:
    whole = config.to_dict(config.compose(["data=digits"]))
    cells = []
    for hidden in range(8, 208):
        for seed in range(5):
            settings = whole | {"seed": seed, "model": whole["model"] | {"hidden": hidden}}
            words = (f"model.hidden={hidden}", f"seed={seed}")
            curve = [1 - 1 / (hidden + epoch + seed) for epoch in range(1, 21)]
            cells.append(add(home, *words, valid=curve, experiment="demo", config=settings))
    sweep = home.manifest(manifest(home, cells, experiment="demo"))
    feed(home, uri)
    seconds = []
    with tracking.serve(uri, 5950) as base:
        link = tracking.links(home, sweep, uri, base)["configs"]
        for _ in range(5):
            page = browser.new_page(viewport={"width": 1280, "height": 1300})
            began = time.monotonic()
            page.goto(link)
            charts = page.locator(".js-plotly-plot")
            expect(charts).to_have_count(3, timeout=SLOW)
            fills = charts.nth(0).locator(".scatterlayer path.js-fill")
            expect(fills).to_have_count(20, timeout=SLOW)
            expect(page.locator(".parcoords text.label")).to_have_count(3, timeout=SLOW)
            seconds.append(time.monotonic() - began)
            page.close()
    print("seconds:", " ".join(f"{second:.1f}" for second in seconds))
    assert min(seconds) <= 8
