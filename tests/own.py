"""Classes as a user may have: networks, losses, metrics and sets that draw random numbers, and plain ones."""

from __future__ import annotations

import logging
import random
import warnings
from collections import defaultdict, deque
from random import Random
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ConstantLR
from torch.utils.data import Dataset

from sweeplab.data import Digits

rng = np.random.default_rng(0)  # of the module, and so one for all runs of a process


def noise() -> float:
    """Draw from every global random stream."""
    return random.random() + float(np.random.normal()) + float(torch.rand(1))


class Erratic(nn.Linear):
    """A network whose numbers depend on how often it was built in this process."""

    built = 0

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        Erratic.built += 1
        self.shift = 0.001 * Erratic.built

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(input) * (
            1 + self.shift
        )  # not a sum, which cross-entropy does not see


class Drawing(nn.Linear):
    """A network that draws from every global random stream, in the constructor and in each forward pass."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.start = random.random() + float(np.random.rand())

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        noise = random.random() + float(np.random.normal())
        output = super().forward(input) * (self.start + 0.1 * noise)
        return output + 0.01 * torch.rand(1, device=output.device)


class NoisyDigits(Digits):
    """Pictures with noise from every global random stream, other noise at each reading."""

    def __init__(self, count: int | None = None) -> None:
        super().__init__()
        self.inputs, self.targets = self.inputs[:count], self.targets[:count]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs, target = super().__getitem__(index)
        return inputs + torch.rand(inputs.shape) + random.random() + float(
            np.random.normal()
        ), target


class WornDigits(NoisyDigits):
    """The same, with more noise when many have been read."""

    read = 0

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.read += 1
        inputs, target = super().__getitem__(index)
        return inputs * (1 + self.read // 800), target


class DrawnDigits(Digits):
    """Pictures with noise that the constructor draws: the same at each reading."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = (
            self.inputs
            + torch.rand(self.inputs.shape)
            + random.random()
            + float(np.random.normal())
        )


class FickleDigits(Digits):
    """Pictures with noise from a generator without a seed: another set each time it is built."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = self.inputs + float(np.random.default_rng().normal())


class Share:
    """Accuracy once more, as torchmetrics would have it."""

    def reset(self) -> None:
        self.right, self.seen = 0, 0

    def update(self, output: Tensor, target: Tensor) -> None:
        self.right += int((output.argmax(1) == target).sum())
        self.seen += len(target)

    def compute(self) -> float:
        return self.right / self.seen


class NoisyLoss(nn.CrossEntropyLoss):
    """Cross-entropy of logits that are scaled at random."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        return super().forward(input * (1 + 0.1 * noise()), target)


class NoisyShare(Share):
    """Accuracy plus a random number, of which the global random streams hear in training, too."""

    def compute(self) -> float:
        return super().compute() + 0.001 * noise()


class ModuleShare(Share):
    """Accuracy plus a random number of the module's own generator."""

    def compute(self) -> float:
        return super().compute() + 0.001 * float(rng.normal())


class NoisySet(Dataset[tuple[Tensor, int]]):
    """Examples that are another way each time they are read."""

    def __len__(self) -> int:
        return 120

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((64,), index / 120) + 0.1 * noise(), index % 10


class Constant(ConstantLR):
    """A schedule of a user's own, of one argument."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer, factor=1.0)


class Falling:
    """What a LambdaLR calls."""

    def __call__(self, epoch: int) -> float:
        return 0.9**epoch


class Centres(nn.Module):
    """A loss with all that a loss may have: parameters, a buffer that moves in training, a mode, and random numbers."""

    modes: ClassVar[list[bool]] = []

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(classes, classes))
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        Centres.modes.append(self.training)
        if self.training:
            self.seen = self.seen + len(target)
            output = (
                output
                + 0.01 * torch.randn_like(output)
                + 0.01 * random.random()
                + 0.01 * float(np.random.rand())
            )
        away = (output - self.centres[target]).square().sum(1).mean()
        return cross_entropy(self.scale * output, target) + 0.01 * away / (1 + self.seen / 1000)


class Dice(nn.Module):
    """A loss of a whole set, which is not the mean of those of its parts."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        share = output.softmax(1)
        hit = share.gather(1, target[:, None]).sum()
        return 1 - hit / share.square().sum()


class Odd(nn.Linear):
    """A network whose state holds what safetensors cannot: plain values, an expanded buffer, one that grows."""

    _version = 2

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.calls = {"forward": 0}
        self.register_buffer("turn", torch.tensor([1 + 1j], dtype=torch.complex128))
        self.register_buffer("scale", torch.ones(1).expand(out_features))
        self.register_buffer("bank", torch.zeros(0))
        self.register_buffer("late", None)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        output = super().forward(input) * self.scale
        if self.training:
            self.calls["forward"] += 1
            self.bank = torch.cat([self.bank, output.detach().mean()[None]])
            self.late = output.detach().mean(0)
        return output

    def get_extra_state(self) -> dict[str, int]:
        return self.calls

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.calls = state

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, *more: Any
    ) -> None:
        assert local_metadata.get("version") == 2
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *more)


class Unsavable(nn.Linear):
    """A network whose state cannot be read back without running code."""

    def get_extra_state(self) -> object:
        return object()

    def set_extra_state(self, state: object) -> None:
        pass


class OddSchedule(ConstantLR):
    """A schedule with a state that no checkpoint holds."""

    def __init__(self, optimizer: Optimizer, **options: Any) -> None:
        self.calls: defaultdict[int, int] = defaultdict(int)
        super().__init__(optimizer, **options)


class Remembering(nn.Linear):
    """A network with state in plain attributes and generators of its own, on which its outputs depend."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.steps, self.pair = 0, (0, 0.0)
        self.kept: list[Tensor] = []
        self.recent: deque[float] = deque(maxlen=3)
        self.seen = {"examples": 0}
        self.same = self.seen  # the same dict
        self.mean = torch.zeros(out_features)
        self.register_buffer("slow", torch.zeros(out_features), persistent=False)
        self.torch, self.numpy, self.python = (
            torch.Generator().manual_seed(0),
            np.random.default_rng(0),
            Random(0),
        )
        self.legacy = np.random.RandomState(0)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        output = super().forward(input)
        if input.device.type == "meta":
            return output
        if self.training:
            self.steps, self.pair = self.steps + 1, (self.steps, 0.5 * self.steps)
            self.kept = [*self.kept, output.detach().mean(0)][-2:]
            self.recent.append(float(output.detach().std()))
            self.seen["examples"] += len(input)
            self.mean = 0.9 * self.mean + 0.1 * output.detach().mean(0)
            self.slow = 0.99 * self.slow + 0.01 * self.mean
            noise = (
                float(torch.rand(1, generator=self.torch))
                + float(self.numpy.normal())
                + self.python.random()
            )
            output = output * (1 + 0.1 * noise + 0.1 * float(self.legacy.rand()))
        state = self.steps + sum(self.pair) + sum(self.recent) + self.same["examples"] / 100
        return output * (1 + state / 100) - self.mean + self.slow + 0.1 * sum(self.kept)


class RememberingLoss(nn.CrossEntropyLoss):
    """A loss that grows with the number of its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ReLU()
        self.inner.steps = 0

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        self.inner.steps += self.training
        return super().forward(input, target) * (1 + 0.1 * self.inner.steps)


class RememberingSGD(SGD):
    """An optimizer with noise from a generator of its own; it holds the parameters once more."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.noise, self.all = (
            torch.Generator().manual_seed(0),
            list(self.param_groups[0]["params"]),
        )

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        with torch.no_grad():
            for parameter in self.all:
                parameter.add_(torch.randn(parameter.shape, generator=self.noise), alpha=0.001)
        return loss


class RememberingShare(Share):
    """Accuracy, and how often it was computed."""

    def __init__(self) -> None:
        self.computed = 0

    def compute(self) -> float:
        self.computed += 1
        return super().compute() + self.computed


class Lazy(nn.Sequential):
    """A network whose first layer learns of its size from the first batch."""

    def __init__(self, out_features: int, **_: int) -> None:
        super().__init__(nn.LazyLinear(16), nn.ReLU(), nn.Linear(16, out_features))


class Guarded(nn.Linear):
    """A network with a setting that is called like a secret, and with a secret, which it repeats when it is asked to."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        class_token: object = None,
        password: str = "",
        says: str = "",
    ) -> None:
        super().__init__(in_features, out_features)
        self.class_token, self.password, self.says = class_token, password, says

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if self.says and input.device.type != "meta":
            logging.getLogger("own").warning("logged in with %s", self.password)
            if self.says == "raise":
                raise RuntimeError(f"no access with {self.password}")
        return super().forward(input)


class Warns(nn.Linear):
    """A network that warns whenever it is used."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        warnings.warn("its weights are old", stacklevel=1)
        return super().forward(input)


class Predicting(nn.Linear):
    """A network with a method `predict` of its own."""

    def predict(self) -> str:
        return "mine"


def mix(inputs: Tensor, targets: Tensor, classes: int = 10) -> tuple[Tensor, Tensor]:
    """Mix examples with what torch (on their device), `random` and numpy draw."""
    drawn = torch.rand((), device=inputs.device)
    share = 0.5 + (drawn + random.random() + float(np.random.rand())) / 6
    shares = one_hot(targets, classes).float()
    return share * inputs + (1 - share) * inputs.flip(0), share * shares + (1 - share) * shares.flip(0)  # fmt: skip
