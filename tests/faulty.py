"""A network whose training fails as `faults.json` in the current folder says: {"<hidden>": "raise" | "kill" | ...}."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from pathlib import Path

import torch
from torch import Tensor, nn


class Net(nn.Linear):
    def __init__(
        self, in_features: int, out_features: int, hidden: int, dropout: float = 0.0
    ) -> None:
        super().__init__(in_features, out_features)
        self.hidden, self.dropout = hidden, dropout
        self.steps = 0

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        self.steps += self.training and input.device.type != "meta"
        if self.steps == 15:  # in the second epoch of digits
            fault(json.loads(Path("faults.json").read_text()).get(str(self.hidden)))
        return super().forward(nn.functional.dropout(input, self.dropout, self.training))


def fault(kind: str | None) -> None:
    if kind == "raise":
        raise RuntimeError("no more")
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "segfault":
        ctypes.string_at(0)
    if kind == "hang":
        while True:
            time.sleep(1)
    if kind == "deaf":  # hangs, and does not end when it is asked to
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path("deaf").touch()
        fault("hang")
    if kind == "slow":
        time.sleep(2)


class Nondeterministic(nn.Linear):
    """A network with an operation whose results are not reproducible."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if input.device.type != "meta":
            torch.zeros(2).put_(torch.tensor([0]), torch.tensor([1.0]))
        return super().forward(input)


class Broken(nn.Linear):
    """A network that fails in its third training step."""

    calls = 0

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if input.device.type != "meta":
            Broken.calls += 1
            if Broken.calls == 3:
                raise RuntimeError("no more")
        return super().forward(input)


class Interrupting(nn.Linear):
    """A network that sends its own process a signal in its third training step."""

    calls = 0
    number = signal.SIGINT

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if input.device.type != "meta":
            Interrupting.calls += 1
            if Interrupting.calls == 3:
                os.kill(os.getpid(), Interrupting.number)
        return super().forward(input)


class Paced(Net):
    """A network that trains slowly while there is a file `slow` in the current folder."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if self.training and input.device.type != "meta" and Path("slow").exists():
            time.sleep(0.05)
        return super().forward(input)
