"""The notebook of the examples: its cells run as they stand, and say what they are shown to say."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from conftest import PROJECT
from nbclient import NotebookClient

NOTEBOOK = PROJECT / "examples" / "first_sweep.ipynb"


def texts(notebook: nbformat.NotebookNode) -> str:
    """All that the cells print or show as text."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found.append(output.get("text", ""))
            found.append(output.get("data", {}).get("text/plain", ""))
    return "\n".join(found)


def test_it_was_executed_and_names_no_place_of_the_machine() -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    assert all(cell.outputs for cell in notebook.cells[3:] if cell.cell_type == "code")
    assert NOTEBOOK.stat().st_size < 200_000
    assert "/tmp/" not in NOTEBOOK.read_text()  # noqa: S108


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.full
def test_it_runs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, 4)
    resources = {"metadata": {"path": str(root)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    shown = texts(notebook)
    assert "6 jobs: 6 new" in shown
    assert "BatchNorm1d(64" in shown
    assert "model.hiden=64: no such key; did you mean 'model.hidden=64'?" in shown
    assert "Sweep b1fe62346555 (6 runs)" in shown  # the same fingerprints as when it was written
