"""Make the pictures of docs/screens.md, in docs/figures: MLflow, the report, the terminal, this site.

uv run --group docs --with pypdfium2 python -m benchmarks.pictures [mlflow] [sweep] [site]

Real sweeps of small networks on `data=digits`, looked at in Chromium; pypdfium2 turns the report
on paper into a picture.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO, StringIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI, TerminalTheme
from rich.text import Text

from benchmarks.measure import PROJECT
from sweeplab import tracking

FIGURES = PROJECT / "docs" / "figures"
COLOURS = 128
NO_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
WIDTHS = (
    "data=digits",
    "trainer.epochs=15",
    "trainer.patience=null",
    "model.hidden=8,16,32,64",
    "seed=range(5)",
)
KEYS = (
    "data=digits",
    "trainer.epochs=12",
    "model.hidden=32",
    "optimizer=sgd",
    "optimizer.momentum=0,0.9",
    "model.batch_norm=false,true",
    "seed=range(5)",
    "sweep.baseline='model.batch_norm=false'",
    "sweep.margin=0.02",
)
MOST_HIGH = 1600  # pixels of a picture of a page
FRAME = "#8a8a8a"


def issue(root: Path, name: str, *words: str, columns: int | None = None) -> str:
    """Issue a command in this folder, on a terminal if it has `columns`; return what it prints."""
    program = [str(PROJECT / "train.py")]
    if name != "train.py":
        program = ["-m", "sweeplab.commands.cli"]
    environment = dict(os.environ)
    if columns is not None:
        screen = {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(columns)}
        environment |= {"TERM": "xterm-256color", **screen}
    command = [sys.executable, *program, *words]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 or "MLflow lags behind" in done.stderr, done.stderr
    return done.stdout


def save(picture: Image.Image, name: str) -> None:
    """Save a picture with few colours, which makes it small."""
    file = FIGURES / f"{name}.png"
    picture.convert("RGB").quantize(COLOURS).save(file, optimize=True)
    print(
        f"{file.relative_to(PROJECT)}: {picture.width} x {picture.height}, {file.stat().st_size:,} bytes"
    )


def opened(data: bytes) -> Image.Image:
    """Open a screenshot."""
    return Image.open(BytesIO(data))


# --- MLflow


def mlflow(root: Path, browser: Browser) -> None:
    """Open the link that a sweep prints first, and take a picture when all charts are drawn."""
    text = issue(root, "train.py", "-m", *WIDTHS, "tracking.wait=120")
    link = re.search(r"^  configs: (\S+)$", text, re.MULTILINE)
    assert link is not None, text
    with tracking.serve(f"sqlite:///{root}/mlflow.db") as base:
        page = browser.new_page(viewport={"width": 1280, "height": 1170})
        page.add_init_script(NO_ASSISTANT)
        page.goto(link[1].replace("http://127.0.0.1:5000", base))
        expect(page.locator(".js-plotly-plot")).to_have_count(3, timeout=120_000)
        expect(page.locator(".parcoords canvas").first).to_be_visible()
        page.wait_for_timeout(3000)  # until lines have come to rest
        save(opened(page.screenshot()), "mlflow")


# --- a sweep on the terminal, and its report


def sweep(root: Path, browser: Browser) -> None:
    """Carry out a sweep; take pictures of its comparison on terminals, and of its report."""
    issue(root, "train.py", "-m", *KEYS)
    for columns, theme in ((80, MONOKAI), (120, DEFAULT_TERMINAL_THEME)):
        words = (["compare"], ["runs", "--limit", "4"])
        texts = [
            f"$ sweeplab {' '.join(one)}\n{issue(root, 'sweeplab', *one, columns=columns)}"
            for one in words
        ]
        save(printed("\n".join(texts), columns, theme, browser), f"terminal_{columns}")
    report(root, browser)


def printed(text: str, columns: int, theme: TerminalTheme, browser: Browser) -> Image.Image:
    """Draw what was printed on a terminal of so many columns."""
    screen = Console(width=columns, record=True, file=StringIO(), color_system="truecolor")
    screen.print(Text.from_ansi(text))
    drawing = screen.export_svg(title=f"{columns} columns", theme=theme)
    drawing = re.sub(r"@font-face \{.*?\}", "", drawing, flags=re.DOTALL)  # from the network
    page = browser.new_page(viewport={"width": 10 * columns, "height": 900})
    page.set_content(f"<body style='margin: 0'>{drawing}</body>")
    return opened(page.locator("svg").screenshot())


def report(root: Path, browser: Browser) -> None:
    """Take pictures of the report: light, dark, on a phone, and on paper."""
    issue(root, "sweeplab", "compare", "--report", "report")
    file = (root / "report" / "report.html").as_uri()
    for name, width, scheme in (
        ("report", 1200, "light"),
        ("report_dark", 1200, "dark"),
    ):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.goto(file)
        save(shot(page, MOST_HIGH), name)
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(file)
    save(in_columns(shot(page, 4 * MOST_HIGH), MOST_HIGH), "report_phone")
    save(paper(page.pdf(prefer_css_page_size=True)), "report_paper")


def shot(page: Page, most_high: int) -> Image.Image:
    """Take a picture of a whole page, from its top."""
    picture = opened(page.screenshot(full_page=True))
    return picture.crop((0, 0, picture.width, min(picture.height, most_high)))


def in_columns(picture: Image.Image, height: int) -> Image.Image:
    """Cut a picture that is too high into columns, side by side."""
    tops = range(0, picture.height, height)
    whole = Image.new("RGB", (picture.width, len(tops) * height), FRAME)
    whole.paste(picture)
    pieces = [whole.crop((0, top, picture.width, top + height)) for top in tops]
    return side_by_side(pieces, columns=len(pieces))


def side_by_side(pieces: Sequence[Image.Image], columns: int, gap: int = 16) -> Image.Image:
    """Put pictures of one size into rows of so many."""
    width, height = pieces[0].width + gap, pieces[0].height + gap
    rows = -(-len(pieces) // columns)
    whole = Image.new("RGB", (columns * width + gap, rows * height + gap), FRAME)
    for index, piece in enumerate(pieces):
        row, column = divmod(index, columns)
        whole.paste(piece, (gap + column * width, gap + row * height))
    return whole


def paper(pdf: bytes) -> Image.Image:
    """Put the pages of a PDF side by side."""
    import pypdfium2  # type: ignore[import-not-found]

    pages = pypdfium2.PdfDocument(pdf)
    return side_by_side([page.render(scale=0.75).to_pil() for page in pages], columns=2)


# --- the documentation


def site(root: Path, browser: Browser) -> None:
    """Build the site; take pictures of a page, light, and dark on a phone."""
    builder = [sys.executable, "-m", "sphinx", "-q", str(PROJECT / "docs"), str(root)]
    subprocess.run(builder, cwd=PROJECT, check=True)
    pieces = []
    for width, scheme in ((1180, "light"), (390, "dark")):
        page = browser.new_page(viewport={"width": width, "height": 1100}, color_scheme=scheme)
        page.goto((root / "how_do_i" / "own_network.html").as_uri())
        pieces.append(opened(page.screenshot()))
    whole = Image.new("RGB", (pieces[0].width + pieces[1].width + 16, pieces[0].height), FRAME)
    whole.paste(pieces[0])
    whole.paste(pieces[1], (pieces[0].width + 16, 0))
    save(whole, "site")


# --- all


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


MADE = {"mlflow": mlflow, "sweep": sweep, "site": site}


def main() -> None:
    for name in ("MLFLOW_TRACKING_URI", "SWEEPLAB_ROOT", "NO_COLOR"):
        os.environ.pop(name, None)
    FIGURES.mkdir(exist_ok=True)
    for name in sys.argv[1:] or MADE:
        with tempfile.TemporaryDirectory() as folder, chromium() as browser:
            MADE[name](Path(folder), browser)


if __name__ == "__main__":
    main()
