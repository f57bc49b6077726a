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
from torch import Tensor, nn

from sweeplab import config, data, store
from sweeplab.config import Config
from sweeplab.config.tables import TableSettings, read_rows
from sweeplab.errors import UserError, first_line, one_line
from sweeplab.metrics import ANY, CLASSIFICATION
from sweeplab.runs.run import load_model

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
Array = np.ndarray[Any, Any]
TABLE = "sweeplab.data.CSV"
BATCH = 1000  # examples that are computed at once


@dataclass(kw_only=True, slots=True, frozen=True)
class Answers:
    """What a network says of examples: probabilities of classes [N, C], or values [N, C]."""

    inputs: Array  # [N, ...], as the network takes them
    outputs: Array
    targets: Array  # classes [N], or values [N, C]; empty if nobody knows them
    classes: list[str]  # their names, or their numbers


def settings_of(run: store.Run) -> Config:
    """Return the config of a recorded run, with the places of today's.

    Raises UserError where it cannot be read, or the run's task has no predictions.
    """
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


def of_test_set(run: store.Run) -> Answers:
    """Compute what the network of a run says of its test set, which must be what it was."""
    settings = settings_of(run)
    splits = data.load(settings.data)
    recorded = run.start().get("data", {}).get("digest")
    if recorded is not None and splits.digest != recorded:
        raise UserError(f"{run.id}: data={settings.data.name} is another set now than it was then")
    inputs, targets, outputs = [], [], []
    model = load_model(run.folder)
    for batch, answers in data.Batches(splits.test, BATCH, device="cpu").epoch(0):
        inputs.append(batch)
        targets.append(answers)
        outputs.append(_outputs(settings, model, batch))
    known = torch.cat(targets)
    if settings.data.task != CLASSIFICATION:
        known = _in_own_unit(settings, known)
    return Answers(
        inputs=torch.cat(inputs).numpy(),
        outputs=torch.cat(outputs).numpy(),
        targets=known.numpy(),
        classes=_class_names(settings),
    )


def of_files(run: store.Run, files: Sequence[Path], *, invert: bool = False) -> Answers:
    """Compute what the network of a run says of pictures, or of rows of numbers in files.

    They are prepared as the training set was: size, channels, mean and std. `invert` makes dark
    pictures on a light ground light on a dark one.
    """
    settings = settings_of(run)
    raw = torch.cat([_read(settings, file, invert=invert) for file in files])
    nothing = torch.zeros(len(raw), dtype=torch.int64)
    if settings.data.task != CLASSIFICATION:
        nothing = torch.zeros(len(raw), settings.data.out_features)
    inputs, _ = data.prepare(settings.data, raw, nothing)
    outputs = _outputs(settings, load_model(run.folder), inputs)
    return Answers(
        inputs=inputs.numpy(),
        outputs=outputs.numpy(),
        targets=np.empty(0),
        classes=_class_names(settings),
    )


@torch.no_grad()
def _outputs(settings: Config, model: nn.Module, inputs: Tensor) -> Tensor:
    """Return probabilities of classes, or values in the targets' own unit."""
    try:
        output: Any = model(inputs)
    except Exception as error:
        shape = list(inputs.shape)
        raise UserError(f"the network fails on inputs {shape}: {one_line(error)}") from error
    if not isinstance(output, Tensor) or output.shape != (len(inputs), settings.data.out_features):
        kind = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        wanted = f"[{len(inputs)}, {settings.data.out_features}]"
        raise UserError(f"the network returns {kind}, and a prediction needs {wanted}")
    if settings.data.task == CLASSIFICATION:
        return output.float().softmax(1)
    return _in_own_unit(settings, output)


def _class_names(settings: Config) -> list[str]:
    return data.class_names(settings.data) if settings.data.task == CLASSIFICATION else []


def _in_own_unit(settings: Config, values: Tensor) -> Tensor:
    return values * (settings.data.target_std or 1.0) + (settings.data.target_mean or 0.0)


# --- Files ----------------------------------------------------------------------------------------


def _read(settings: Config, file: Path, *, invert: bool) -> Tensor:
    """Read the examples of a file, raw: a picture, or rows of numbers."""
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    if file.suffix.lower() in PICTURES:
        return _picture(settings, file, invert=invert)
    if settings.data.dataset["_target_"] == TABLE:
        table = TableSettings.of(settings.data.dataset, config.root())
        return torch.from_numpy(read_rows(table, file))
    rows = _rows(file)
    _ensure_examples(rows, settings.data.in_features, file)
    shape = settings.data.shape or [settings.data.in_features]
    return torch.from_numpy(rows.astype(np.float32)).reshape(-1, *shape)


def _has_bytes(settings: Config) -> bool:
    """Tell whether the pictures of the set are bytes, as those of files are."""
    test = data.load(settings.data).test
    return isinstance(test, data.InMemorySplit) and test.inputs.dtype == torch.uint8


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
        kinds = f"a picture ({', '.join(PICTURES[:3])}, ...), .npy, or rows of numbers with commas"
        raise UserError(f"{file}: cannot be read: {first_line(error)}; give {kinds}") from error
    if rows.dtype.kind not in "biuf":
        raise UserError(f"{file}: holds {rows.dtype}, and real numbers are needed")
    return rows


def _ensure_examples(rows: Array, numbers: int, file: Path) -> None:
    """Raise UserError unless these are examples of so many numbers, one after another, or one."""
    wanted = f"an example has {numbers} numbers"
    if rows.size == 0:
        raise UserError(f"{file}: holds nothing, and {wanted}")
    in_row = math.prod(rows.shape[1:])
    if numbers not in (rows.size, in_row):
        if rows.ndim < 2 or len(rows) == 1:
            raise UserError(f"{file}: has {rows.size} numbers, and {wanted}")
        raise UserError(f"{file}: has {len(rows)} rows of {in_row} numbers, and {wanted}")
    if not np.isfinite(rows).all():
        raise UserError(f"{file}: has numbers that are NaN or infinite")


def _picture(settings: Config, file: Path, *, invert: bool) -> Tensor:
    """Read a picture as bytes [1, channels, height, width], of the size that the network takes."""
    from PIL import Image, UnidentifiedImageError

    if len(settings.data.shape or ()) != 3:
        raise UserError(f"{file}: is a picture, and data={settings.data.name} has none")
    assert settings.data.shape is not None
    channels, height, width = settings.data.shape
    modes = {1: "L", 3: "RGB"}
    if not _has_bytes(settings):
        why = f"the numbers of data={settings.data.name} are no bytes, and of another scale"
        raise UserError(f"{file}: is a picture, and {why}; give rows of numbers")
    if channels not in modes:
        raise UserError(f"{file}: the network takes {channels} channels; give a .npy file")
    try:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert(modes[channels]).resize((width, height)))
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"{file}: cannot be read: {first_line(error)}") from error
    picture = torch.from_numpy(pixels.copy()).reshape(height, width, channels).permute(2, 0, 1)
    bytes_ = 255 - picture if invert else picture
    return bytes_.unsqueeze(0)
