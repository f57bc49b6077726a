"""`sweeplab predict RUN FILE...`: what a trained network says of pictures, or of rows of numbers."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from sweeplab import console
from sweeplab.config import Config
from sweeplab.errors import UserError
from sweeplab.store import Store, weights

MOST = 3  # answers with their probabilities


def add_options(parser: ArgumentParser) -> None:
    """Add the run, and what its network is asked about."""
    parser.add_argument("RUN")
    parser.add_argument("FILE", nargs="+", help="a picture, .npy, or rows of numbers")
    invert = "the pictures are dark on a light ground, and the set's are light on a dark one"
    parser.add_argument("--invert", action="store_true", help=invert)


def overrides(arguments: Namespace, words: list[str]) -> list[str]:
    """Take the overrides from among the files."""
    given = [*arguments.FILE, *words]
    chosen = [word for word in given if "=" in word and not Path(word).exists()]
    arguments.FILE = [word for word in given if word not in chosen]
    return chosen


def main(arguments: Namespace, settings: Config) -> None:
    """Prepare the files as the training set was, and print the network's answer to each example."""
    run = Store(settings.store.root).find(arguments.RUN)
    weights.ensure(run)
    files = [Path(name) for name in arguments.FILE]
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: no such file")
    with console.waiting("loading the network"):
        from sweeplab.runs.loading import load_predictor

        predictor = load_predictor(run.folder)
        predictor.settings.data.root = settings.data.root  # where data sets are today
    rows: list[list[str]] = []
    for file in files:
        answers = predictor(file, invert=arguments.invert).numpy()
        for number, answer in enumerate(answers, 1):
            name = str(file) if len(answers) == 1 else f"{file}, row {number}"
            if predictor.is_classification:
                best = (-answer).argsort(kind="stable")[:MOST]
                said = [f"{predictor.classes[each]} ({answer[each]:.3f})" for each in best]
            else:
                said = [f"{value:.5g}" for value in answer]
            rows.append([name, said[0], ", ".join(said[1:])])
    if predictor.is_classification:
        console.table(f"run {run.id}", ("file", "class", "else"), rows, left=3)
    else:
        console.table(f"run {run.id}", ("file", "value", "further"), rows, left=1)
