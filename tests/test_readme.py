"""The README and the guide tell the truth: the tree is the disk's, commands compose, the README is short."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from conftest import PROJECT, Command

from sweeplab.config import compose

README = (PROJECT / "README.md").read_text()
KOREAN = (PROJECT / "README.ko.md").read_text()
MAP = (PROJECT / "CONTRIBUTING.md").read_text().partition("## What is where")[2]
GUIDE = [
    page.read_text()
    for pattern in ("*.md", "how_do_i/*.md", "ko/*.md")
    for page in sorted((PROJECT / "docs").glob(pattern))
]

# What a reader's own files are called, or what Optuna reads: tried by test_first_hour.
OWN = ("my_package", "mine.", "wine", "=pictures", "mixup", "optuna")


def commands(text: str) -> list[list[str]]:
    """The words of every `python train.py ...` line in the code blocks, comments cut off."""
    lines = re.findall(r"^(?:\$ )?python (train\.py .*)$", text, flags=re.MULTILINE)
    return [shlex.split(line, comments=True)[1:] for line in lines]


def first_of(word: str) -> str:
    """The first of the values that an override sweeps over."""
    if "],[" in word:
        return word.partition(",[")[0]
    return re.sub(r"range\(\d+\)", "0", word.split(",")[0])


def test_the_tree_is_the_one_on_disk() -> None:
    tree = MAP.split("```")[1]
    named = {line.split()[0] for line in tree.strip().splitlines() if not line.startswith(" ")}
    assert all((PROJECT / name).exists() for name in named)
    folders = {f"{p.name}/" for p in PROJECT.iterdir() if p.is_dir() and not p.name.startswith(".")}
    known = {name.partition("/")[0] + "/" for name in named if "/" in name}
    ours = {
        "conf/",
        "src/",
        "experiments/",
        "tests/",
        "benchmarks/",
        "deploy/",
        "docs/",
        "examples/",
    }
    assert folders & ours == known


def test_the_map_names_every_room_of_the_source() -> None:
    tree = MAP.split("```")[1]
    mapped = [line.split()[0] for line in tree.splitlines() if line.startswith("  ")]
    entries = [
        path
        for path in (PROJECT / "src/sweeplab").iterdir()
        if not path.name.startswith("__") and path.name != "py.typed"
    ]
    assert sorted(mapped) == sorted(
        f"{path.name}/" if path.is_dir() else path.name for path in entries
    )
    for line in tree.splitlines():
        for file in re.findall(r"\((\w+\.py)\)", line):
            assert (PROJECT / "src/sweeplab" / line.split()[0] / file).is_file()


def test_the_first_screen_has_the_two_commands_and_the_readme_is_short() -> None:
    for text in (README, KOREAN):
        first = "\n".join(text.splitlines()[:12])
        assert "pip install uv && uv run train.py" in first
        assert "uv run pytest" in first
        assert "source .venv/bin/activate" in first
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize(
    "words", [w for text in (README, KOREAN, *GUIDE) for w in commands(text)], ids=" ".join
)
def test_every_command_of_the_readmes_composes(root: Path, words: list[str]) -> None:
    if (
        any(own in word for word in words for own in OWN)
        or "-sc" in words
        or "--help" in words
        or "--cfg" in words
    ):
        pytest.skip("a command of the reader's own project, or of Hydra")
    given = [w for w in words if not w.startswith("-")]
    single = [w if w.startswith("sweep.") else first_of(w) for w in given]
    wrong = {"model.hiden=3"}
    if wrong & set(single):
        pytest.skip("shown as wrong, and refused in test_cli")
    assert compose(single).seed == 0


def test_the_wrong_input_of_the_readme_is_refused_as_it_says(train: Command) -> None:
    blocks = [block for block in README.split("```") if "$ python train.py" in block]
    (block,) = blocks
    shown: dict[str, list[str]] = {}
    for line in block.strip().splitlines():
        if line.startswith("$ python train.py "):
            shown[line.removeprefix("$ python train.py ")] = []
        else:
            shown[list(shown)[-1]].append(line)
    for words, lines in shown.items():
        assert train(*shlex.split(words)).err.splitlines() == lines


def test_the_program_that_the_guide_shows_is_the_gallerys() -> None:
    page = (PROJECT / "docs/how_do_i/step.md").read_text()
    gallery = PROJECT / "examples" / "gallery"
    docstring, module = (gallery / "mixup.py").read_text().split("\n\n", 1)
    assert docstring.startswith('"""')
    assert f"```python\n{module}```\n" in page
    settings = (gallery / "experiments" / "mixup.yaml").read_text().splitlines()
    shown = "\n".join(line for line in settings if not line.startswith("#"))
    assert f"```yaml\n{shown}\n```\n" in page


def test_no_placeholder_is_left() -> None:
    assert "@@" not in README + KOREAN
