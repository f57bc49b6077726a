"""`sweeplab show RUN`: what a trained network gets right, and where it is wrong, on the test set."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeplab import console
from sweeplab.compare.drawing import save
from sweeplab.config import Config
from sweeplab.store import Run, Store, weights, write_atomic

if TYPE_CHECKING:
    from sweeplab.runs.predictions import Answers

Array = np.ndarray[Any, Any]
MISTAKES = 12  # the most confident ones, or the largest errors
MOST_CLASSES = 20  # of a matrix in the terminal and in the figure
FIGURE = "test.png"


def add_options(parser: ArgumentParser) -> None:
    """Add the run."""
    parser.add_argument("RUN")


def main(arguments: Namespace, settings: Config) -> None:
    """Compute the answers to the test set once more, and show them; the figure goes to the run."""
    run = Store(settings.store.root).find(arguments.RUN)
    weights.ensure(run)
    with console.waiting("computing the answers to the test set"):
        from sweeplab.runs.loading import load_predictor

        predictor = load_predictor(run.folder)
        predictor.settings.data.root = settings.data.root  # where data sets are today
        answers = predictor.test_set()
    recorded = predictor.settings
    console.say(f"run {run.id}: {recorded.model['_target_']} on data={recorded.data.name}")
    if predictor.is_classification:
        _show_classes(run, answers, predictor.classes, recorded.data.shape or [])
    else:
        _show_errors(answers)


# --- Classification -------------------------------------------------------------------------------


def _show_classes(run: Run, answers: Answers, names: list[str], shape: list[int]) -> None:
    confidence, said = answers.outputs.max(1), answers.outputs.argmax(1)
    matrix = np.zeros((len(names), len(names)), dtype=np.int64)  # true class, answer
    np.add.at(matrix, (answers.targets, said), 1)
    right = int(matrix.trace())
    console.say(f"test accuracy {right / len(said):.4f} ({right} of {len(said)})")
    console.table(
        "by class",
        ("class", "examples", "right", "accuracy", "precision", "mostly taken for"),
        [_class_row(matrix, number, names) for number in range(len(names))],
        left=1,
    )
    if len(names) <= MOST_CLASSES:
        cells = [[name, *map(_cell, row)] for name, row in zip(names, matrix.tolist(), strict=True)]
        console.table("true class (rows), answer (columns)", ["", *names], cells)
    wrong = np.flatnonzero(said != answers.targets)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES].tolist()
    rows = []
    for index in worst:
        true, answer = names[answers.targets[index]], names[said[index]]
        rows.append([str(index), true, answer, f"{confidence[index]:.3f}"])
    if rows:
        columns = ("example of the test set", "true class", "answer", "probability")
        console.table("the most confident mistakes", columns, rows)
    file = run.folder / FIGURE
    try:
        write_atomic(file, _picture(answers, worst, matrix, names, shape))
    except OSError as error:  # another user's store, say
        console.say(f"no figure is drawn: {file}: {error.strerror}")
    else:
        console.say(f"figure: {file}")


def _class_row(matrix: Array, number: int, names: list[str]) -> list[str]:
    examples, answered = int(matrix[number].sum()), int(matrix[:, number].sum())
    right = int(matrix[number, number])
    others = matrix[number].copy()
    others[number] = 0
    confused = "-"
    if others.max() > 0:
        confused = f"{names[others.argmax()]} ({others.max()})"
    accuracy = f"{right / examples:.4f}" if examples else "-"
    precision = f"{right / answered:.4f}" if answered else "-"
    return [names[number], str(examples), str(right), accuracy, precision, confused]


def _cell(count: int) -> str:
    return str(count) if count else "."


def _picture(
    answers: Answers, worst: list[int], matrix: Array, names: list[str], shape: list[int]
) -> bytes:
    """Draw the matrix, and the examples of the most confident mistakes if they are pictures."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.2), layout="constrained")
    halves: Any = figure.subfigures(1, 2)
    left, right = halves
    panel = left.subplots()
    panel.imshow(np.sqrt(matrix), cmap="Blues")  # roots, so that few mistakes are seen
    panel.set(xlabel="answer", ylabel="true class", title="test set")
    if len(matrix) <= MOST_CLASSES:
        _write_counts(panel, matrix, names)
    if worst and len(shape) == 3 and shape[0] in (1, 3):
        right.suptitle("the most confident mistakes, and how probable they seemed")
        panels = right.subplots(3, 4).flatten()
        for each in panels:
            each.set_axis_off()
        for each, index in zip(panels, worst, strict=False):
            pixels = answers.inputs[index].reshape(shape).transpose(1, 2, 0).squeeze()
            low, high = pixels.min(), pixels.max()
            each.imshow((pixels - low) / (high - low + 1e-12), cmap="gray")
            answer, probability = answers.outputs[index].argmax(), answers.outputs[index].max()
            title = f"{names[answers.targets[index]]} as {names[answer]}, {probability:.2f}"
            each.set_title(title, fontsize=9)
    return save(figure, "png")


def _write_counts(panel: Any, matrix: Array, names: list[str]) -> None:
    upright = max(map(len, names)) > 3
    panel.set_xticks(range(len(matrix)), names, rotation=90 if upright else 0)
    panel.set_yticks(range(len(matrix)), names)
    for row, counts in enumerate(matrix.tolist()):
        for column, count in enumerate(counts):
            if count:
                colour = "white" if count > 0.3 * matrix.max() else "black"
                panel.text(column, row, count, ha="center", va="center", color=colour, fontsize=8)


# --- Regression -----------------------------------------------------------------------------------


def _show_errors(answers: Answers) -> None:
    errors = answers.outputs - answers.targets
    means = ", ".join(f"{mean:.4g}" for mean in np.abs(errors).mean(0))
    console.say(f"test mae {means}")
    explained = 1 - np.square(errors).mean(0) / answers.targets.var(0)
    shares = ", ".join(f"{share:.4f}" for share in explained)
    console.say(f"share of the variance explained (R2): {shares}")
    worst = np.argsort(-np.abs(errors).sum(1), kind="stable")[:MISTAKES]
    rows: list[list[str]] = []
    for index in worst.tolist():
        values = zip(answers.targets[index], answers.outputs[index], strict=True)
        rows.extend([str(index), f"{true:.5g}", f"{said:.5g}"] for true, said in values)
    console.table("the largest errors", ("example of the test set", "true", "answer"), rows)
