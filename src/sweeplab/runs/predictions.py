"""What a trained network says: of the test set, and of a user's own files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sweeplab import config, data, store
from sweeplab.config import Config
from sweeplab.config.pictures import EXTENSIONS
from sweeplab.config.tables import TableSettings, read_rows
from sweeplab.errors import UserError, first_line, one_line
from sweeplab.metrics import ANY, CLASSIFICATION
from sweeplab.runs.run import load_model
from sweeplab.targets import locate
from sweeplab.train.device import Runtime

Array = np.ndarray[Any, Any]
BATCH = 1000  # examples that are computed at once


@dataclass(kw_only=True, slots=True, frozen=True)
class Answers:
    """What a network says of the examples of a test set."""

    inputs: Array  # [N, ...], as the network takes them
    outputs: Array  # probabilities of classes [N, C], or values [N, C]
    targets: Array  # classes [N], or values [N, C]


class Predictor:
    """A trained network, with what its run recorded of the data that it takes."""

    def __init__(self, run: store.Run, data_root: str) -> None:
        """Load the network; `data_root` is where data sets are today.

        Raises UserError where the run has no weights, or no predictions.
        """
        self.run = run
        self.settings = _settings_of(run)
        self.settings.data.root = data_root
        self.is_classification = self.settings.data.task == CLASSIFICATION
        self.classes = data.class_names(self.settings.data) if self.is_classification else []
        self._model = load_model(run.folder)
        precision = self.settings.trainer.precision
        self._runtime = Runtime(device=torch.device("cpu"), threads=1, precision=precision)

    def test_set(self) -> Answers:
        """Answer the test set, which must be what it was."""
        settings = self.settings.data
        splits = data.load(settings)
        recorded = self.run.start().get("data", {}).get("digest")
        if recorded is not None and splits.digest != recorded:
            was = "is another set now than it was then"
            raise UserError(f"{self.run.id}: data={settings.name} {was}")
        inputs, targets, outputs = [], [], []
        for batch, answers in data.Batches(splits.test, BATCH, device="cpu").epoch(0):
            inputs.append(batch)
            targets.append(answers if self.is_classification else self._in_own_unit(answers))
            outputs.append(self._answer(batch))
        return Answers(
            inputs=torch.cat(inputs).numpy(),
            outputs=torch.cat(outputs).numpy(),
            targets=torch.cat(targets).numpy(),
        )

    def file(self, file: Path, *, invert: bool = False) -> Array:
        """Answer a picture, or each row of numbers in a file: probabilities, or values, [N, C].

        They are prepared as the training set was. `invert` makes dark pictures on a light ground
        light on a dark one.
        """
        raw = _read(self.settings, file, invert=invert)
        answers: Array = self._answer(data.inputs_of(self.settings.data, raw)).numpy()
        return answers

    @torch.no_grad()
    def _answer(self, inputs: Tensor) -> Tensor:
        """Return probabilities of classes, or values in the targets' own unit."""
        try:
            with self._runtime.autocast():
                output: Any = self._model(inputs)
        except Exception as error:
            shape = list(inputs.shape)
            raise UserError(f"the network fails on inputs {shape}: {one_line(error)}") from error
        needed = (len(inputs), self.settings.data.out_features)
        if not isinstance(output, Tensor) or output.shape != needed:
            kind = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UserError(f"the network returns {kind}, and a prediction needs {list(needed)}")
        if self.is_classification:
            return output.float().softmax(1)
        return self._in_own_unit(output.float())

    def _in_own_unit(self, values: Tensor) -> Tensor:
        settings = self.settings.data
        return values * (settings.target_std or 1.0) + (settings.target_mean or 0.0)


def _settings_of(run: store.Run) -> Config:
    start = run.start()
    if not start:
        raise UserError(f"{run.folder}: its journal has no beginning")
    settings = config.validate(start["config"])
    if settings.data.task == ANY:
        raise UserError(
            f"{run.id}: data.task=any: what its network takes and returns, only its step knows; "
            "use sweeplab.load_model"
        )
    return settings


# --- Files ----------------------------------------------------------------------------------------


def _read(settings: Config, file: Path, *, invert: bool) -> Sequence[Any]:
    """Read the examples of a file, raw: a picture, or rows of numbers."""
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    if file.suffix.lower() in EXTENSIONS:
        return [_picture(settings, file, invert=invert)]
    if locate(settings.data.dataset["_target_"], "data.dataset._target_") is data.CSV:
        table = TableSettings.of(settings.data.dataset, config.root())
        return list(read_rows(table, file))
    rows = _rows(file)
    _ensure_numbers(rows, file)
    if settings.data.transform is not None:  # which alone knows what it takes
        return list(rows.astype(np.float32))
    _ensure_examples(rows, settings.data.in_features, file)
    shape = settings.data.shape or [settings.data.in_features]
    return list(rows.astype(np.float32).reshape(-1, *shape))


def _rows(file: Path) -> Array:
    """Read an array of real numbers. Raises UserError for anything else."""
    try:
        if file.suffix.lower() == ".npy":
            rows: Array = np.load(file, allow_pickle=False)
        else:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "loadtxt: input contained no data")
                rows = np.loadtxt(file, delimiter=",", ndmin=2)
    except (OSError, ValueError) as error:
        kinds = (
            f"a picture ({', '.join(EXTENSIONS[:3])}, ...), .npy, or rows of numbers with commas"
        )
        raise UserError(f"{file}: cannot be read: {first_line(error)}; give {kinds}") from error
    if rows.dtype.kind not in "biuf":
        raise UserError(f"{file}: holds {rows.dtype}, and real numbers are needed")
    return rows


def _ensure_numbers(rows: Array, file: Path) -> None:
    if rows.size == 0:
        raise UserError(f"{file}: holds nothing")
    if not np.isfinite(rows).all():
        raise UserError(f"{file}: has numbers that are NaN or infinite")


def _ensure_examples(rows: Array, numbers: int, file: Path) -> None:
    """Raise UserError unless these are examples of so many numbers, one after another, or one."""
    wanted = f"an example has {numbers} numbers"
    in_row = math.prod(rows.shape[1:])
    if numbers in (rows.size, in_row):
        return
    if rows.ndim < 2 or len(rows) == 1:
        raise UserError(f"{file}: has {rows.size} numbers, and {wanted}")
    raise UserError(f"{file}: has {len(rows)} rows of {in_row} numbers, and {wanted}")


def _picture(settings: Config, file: Path, *, invert: bool) -> Any:
    """Read a picture as the set delivers its own."""
    try:
        picture = data.read_picture(settings.data, file)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {first_line(error)}") from error
    if not invert:
        return picture
    if isinstance(picture, Tensor):
        return 255 - picture
    from PIL import ImageOps

    return ImageOps.invert(picture)
