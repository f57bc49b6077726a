"""What a person sees, in a real browser: the report, and the links into MLflow's UI that sweeplab prints."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from compared import add, factorial, manifest, troubled
from feeding import feed
from playwright.sync_api import Browser, Page, expect, sync_playwright

from sweeplab import compare, config, tracking
from sweeplab.store import Store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),  # mlflow's own code
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


AXE = "axe-core@4.14.1"
AXE_DIGEST = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core, which finds what readers with impairments cannot use."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm, by which axe-core is fetched")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--ignore-scripts", "--silent", AXE]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"npm does not bring {AXE}: {done.stderr.strip()[-200:]}")
        with tarfile.open(Path(folder) / done.stdout.strip()) as archive:
            source = archive.extractfile("package/axe.min.js")
            assert source is not None
            content = source.read()
    assert hashlib.sha256(content).hexdigest() == AXE_DIGEST
    return content.decode()


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a report with all that one can have: a verdict, differences, curves, troubles."""
    root = tmp_path_factory.mktemp("paired")
    home = Store(root / "runs").open()
    several = [factorial(home).manifests()[0], home.manifest(troubled(home))]
    found = compare.compare(home, several, baseline={"batch_norm": "false"}, target=0.9)
    return compare.write_report(found, root / "report").as_uri()


def test_a_report_is_accessible_on_wide_and_narrow_screens(
    page: Page, paired: str, axe: str, pytestconfig: pytest.Config
) -> None:
    wide = (("light", 1200), ("dark", 1200)) if pytestconfig.getoption("full") else ()
    for scheme, width in (*wide, ("light", 390)):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(paired)
        page.evaluate(axe)
        found = page.evaluate("axe.run()")
        assert len(found["passes"]) > 10
        assert [
            (fault["id"], node["html"]) for fault in found["violations"] for node in fault["nodes"]
        ] == []


def test_a_report_fits_a_phone_and_paper(page: Page, paired: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(paired)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    sizes = "[...document.querySelectorAll('svg')].map(one => one.getBoundingClientRect())"
    drawn = page.evaluate(f"{sizes}.map(box => [box.width, box.height])")
    assert len(drawn) >= 2
    assert all(width >= 340 and height >= 260 for width, height in drawn), drawn
    page.emulate_media(media="print")
    assert page.locator("h2").first.evaluate("one => getComputedStyle(one).breakAfter") == "avoid"
    assert page.pdf().startswith(b"%PDF")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, fresh_database: bytes) -> tuple[Path, str]:
    """A root with two sweeps in MLflow; and the later one's id."""
    root = tmp_path_factory.mktemp("swept")
    (root / "mlflow.db").write_bytes(fresh_database)
    home = Store(root / "runs").open()
    whole = config.to_dict(config.compose(["data=digits"]))
    ids = []
    for name, hiddens, seeds in (("other", (8,), 2), ("demo", (16, 24), 5)):
        cells = []
        for hidden in hiddens:
            for seed in range(seeds):
                settings = whole | {"seed": seed, "model": whole["model"] | {"hidden": hidden}}
                words = (f"model.hidden={hidden}", f"seed={seed}")
                curve = [1 - 1 / (hidden + epoch + seed) for epoch in range(1, 4)]
                cells.append(add(home, *words, valid=curve, config=settings, experiment="demo"))
        ids.append(manifest(home, cells, name, experiment="demo"))
    feed(home, f"sqlite:///{root}/mlflow.db")
    return root, ids[-1]


@pytest.fixture(scope="module")
def ui(swept: tuple[Path, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """`sweeplab ui`: its address, and the links that it prints."""
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
        yield (
            base[0],
            dict(re.findall(r"^(configs|side by side) of the latest .*\n  (\S+)$", said, re.M)),
        )
        process.send_signal(signal.SIGTERM)


@pytest.mark.server
def test_the_printed_link_opens_on_the_configs_without_a_click(
    page: Page, ui: tuple[str, dict[str, str]]
) -> None:
    _, links = ui
    assert sorted(links) == ["configs", "side by side"]
    page.set_viewport_size(
        {"width": 1280, "height": 1300}
    )  # charts are drawn when they come into view
    page.goto(links["configs"])
    charts = page.locator(".js-plotly-plot")
    expect(charts).to_have_count(3, timeout=SLOW)
    expect(charts.nth(0).locator(".scatterlayer path.js-fill")).to_have_count(2)  # bands
    for hidden in (16, 24):
        expect(page.get_by_text(f"{hidden} (valid/accuracy)", exact=True)).to_be_visible()
    for number in (1, 2):
        expect(charts.nth(number).locator(".barlayer .point")).to_have_count(2)
    axes = page.locator(".parcoords text.label")
    expect(axes).to_have_text(["model.hidden", "test/accuracy", "valid/accuracy"])
    heading = "2 configs; valid bars: last epoch"
    expect(page.get_by_text(heading)).to_be_visible()
    assert page.get_by_text("8 (valid/accuracy)", exact=True).count() == 0, "no other sweep"
    expect(page.get_by_text("other metrics")).to_be_visible()
    if folder := os.environ.get("SWEEPLAB_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/configs.png")


@pytest.mark.full
@pytest.mark.server
def test_the_page_of_the_experiment_leads_there(page: Page, ui: tuple[str, dict[str, str]]) -> None:
    key = re.search(r"experiments/(\d+)/.*viewStateShareKey=(\S+?)&", ui[1]["configs"])
    assert key is not None
    page.goto(f"{ui[0]}/#/experiments/{key[1]}")
    link = page.locator("a", has_text=re.compile("^configs$"))
    expect(link).to_be_visible(timeout=SLOW)
    href = link.get_attribute("href")
    assert href is not None
    assert href.startswith(f"#/experiments/{key[1]}/runs?viewStateShareKey={key[2]}&")


@pytest.mark.full
@pytest.mark.server
def test_the_compare_page_has_parallel_coordinates_over_the_swept_key(
    page: Page, ui: tuple[str, dict[str, str]]
) -> None:
    page.goto(ui[1]["side by side"])
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
