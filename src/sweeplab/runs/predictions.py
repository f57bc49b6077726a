"""What a trained network says: of the test set, and of a user's own inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sweeplab import config, data
from sweeplab.config import Config
from sweeplab.errors import UserError, one_line
from sweeplab.metrics import ANY, CLASSIFICATION
from sweeplab.runs import raw_inputs
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
    """A trained network, called with raw inputs: they are prepared as the training set was."""

    def __init__(self, model: nn.Module, run_id: str, start: Mapping[str, Any]) -> None:
        """Take a network, and the first line of its run's journal."""
        self.model = model
        self.run_id = run_id
        self._start = start

    @cached_property
    def settings(self) -> Config:
        """The recorded config. Raises UserError if it tells of no predictions."""
        if not self._start:
            raise UserError(f"{self.run_id}: its journal has no beginning")
        settings = config.validate(self._start["config"])
        if settings.data.task == ANY:
            raise UserError(
                f"{self.run_id}: data.task=any: what its network takes and returns, only its step "
                "knows; use sweeplab.load_model"
            )
        return settings

    @property
    def is_classification(self) -> bool:
        """Whether a prediction is a probability for each class, and not values."""
        return self.settings.data.task == CLASSIFICATION

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes, as the data set has them; none of a regression."""
        return data.class_names(self.settings.data) if self.is_classification else []

    def __call__(self, inputs: Any, *, invert: bool = False) -> Tensor:
        """Return a row for each example: probabilities of the classes, or values in their own unit.

        `inputs` is a file (a picture, .npy, or rows of numbers), a picture of PIL, an array or a
        tensor of one example or several with the numbers that the data set has, or a list of these.
        Whole numbers are the bytes of pictures where the set's are. A row of a table (`data=csv`)
        is a mapping of its columns, and several are a DataFrame. `invert` makes dark pictures on a
        light ground light on a dark one. Raises UserError for what the network does not take.
        """
        raw = raw_inputs.examples(self.settings, inputs, invert=invert)
        prepared = data.inputs_of(self.settings.data, raw)
        return torch.cat([self._answer(batch) for batch in prepared.split(BATCH)])

    def test_set(self) -> Answers:
        """Answer the test set. Raises UserError if it is not what it was."""
        settings = self.settings.data
        splits = data.load(settings)
        recorded = self._start.get("data", {}).get("digest")
        if recorded is not None and splits.digest != recorded:
            was = "is another set now than it was then"
            raise UserError(f"{self.run_id}: data={settings.name} {was}")
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

    @torch.no_grad()
    def _answer(self, inputs: Tensor) -> Tensor:
        """Return probabilities of classes, or values in the targets' own unit, on the CPU."""
        device = next(
            (parameter.device for parameter in self.model.parameters()), torch.device("cpu")
        )
        precision = self.settings.trainer.precision
        runtime = Runtime(device=device, threads=1, precision=precision)
        try:
            with evaluating(self.model), runtime.autocast():
                output: Any = self.model(inputs.to(device))
        except Exception as error:
            shape = list(inputs.shape)
            raise UserError(f"the network fails on inputs {shape}: {one_line(error)}") from error
        needed = (len(inputs), self.settings.data.out_features)
        if not isinstance(output, Tensor) or output.shape != needed:
            kind = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UserError(f"the network returns {kind}, and a prediction needs {list(needed)}")
        values = output.float().cpu()
        return values.softmax(1) if self.is_classification else self._in_own_unit(values)

    def _in_own_unit(self, values: Tensor) -> Tensor:
        settings = self.settings.data
        return values * (settings.target_std or 1.0) + (settings.target_mean or 0.0)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Have a network in eval mode meanwhile; each of its modules gets its own mode back."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
