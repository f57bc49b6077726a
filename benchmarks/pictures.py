"""Draw `docs/figures/mlflow.png`: the page of MLflow that the link after a sweep opens, in Chromium.

uv run python -m benchmarks.pictures
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from benchmarks.measure import PROJECT
from sweeplab import tracking

PICTURE = PROJECT / "docs" / "figures" / "mlflow.png"
SWEEP = (
    "data=digits",
    "trainer.epochs=15",
    "trainer.patience=null",
    "model.hidden=8,16,32,64",
    "seed=range(5)",
)
SIZE = {"width": 1280, "height": 1170}
COLOURS = 128
NO_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"


def sweep(root: Path) -> str:
    """Carry out the sweep in this folder; return the link that it prints first."""
    command = [sys.executable, str(PROJECT / "train.py"), "-m", *SWEEP, "tracking.wait=120"]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    link = re.search(r"^  configs: (\S+)$", done.stdout, re.MULTILINE)
    assert link is not None, done.stdout
    return link[1]


def shoot(page: Page, link: str) -> Image.Image:
    """Open the link, and take a picture when all charts are drawn."""
    page.add_init_script(NO_ASSISTANT)
    page.goto(link)
    expect(page.locator(".js-plotly-plot")).to_have_count(3, timeout=120_000)
    expect(page.locator(".parcoords canvas").first).to_be_visible()
    page.wait_for_timeout(3000)  # until lines have come to rest
    return Image.open(BytesIO(page.screenshot()))


def main() -> None:
    for name in ("MLFLOW_TRACKING_URI", "SWEEPLAB_ROOT"):
        os.environ.pop(name, None)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as folder:
        link = sweep(Path(folder))
        with (
            tracking.serve(f"sqlite:///{folder}/mlflow.db") as base,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            link = link.replace("http://127.0.0.1:5000", base)
            picture = shoot(browser.new_page(viewport=SIZE), link)
            browser.close()
    PICTURE.parent.mkdir(exist_ok=True)
    picture.convert("RGB").quantize(COLOURS).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
