"""Networks that train without an error, but not as their author thinks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sweeplab import config
from sweeplab.errors import UserError
from sweeplab.runs import trial

HERE = __name__


class Layers(nn.Module):
    """Two layers, which a network below holds in `make`'s way."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(64, 10)
        self.hold(nn.Linear(64, 64))

    def hold(self, layer: nn.Linear) -> None:
        self.first: Any = layer

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.last(x)
        return output


class InList(Layers):
    def hold(self, layer: nn.Linear) -> None:
        self.first = [nn.ReLU(), layer]


class InTuples(Layers):
    def hold(self, layer: nn.Linear) -> None:
        self.first = ((nn.ReLU(),), (nn.ReLU(), layer))


class InDict(Layers):
    def hold(self, layer: nn.Linear) -> None:
        self.first = {"a": layer}


class Inside(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Identity(), InList())


class PlainTensor(Layers):
    def hold(self, layer: nn.Linear) -> None:
        self.first = torch.zeros(3, requires_grad=True)


class Tensors(Layers):
    def hold(self, layer: nn.Linear) -> None:
        self.first = [layer.weight]


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (InList, "first[1] (Linear) is in a list"),
        (InList, "use torch.nn.ModuleList"),
        (InTuples, "first[1][1] (Linear) is in a list"),
        (InDict, "first['a'] (Linear) is in a dict"),
        (InDict, "use torch.nn.ModuleDict"),
        (Inside, "1.first[1] (Linear) is in a list"),
        (PlainTensor, "first (Tensor) is no torch.nn.Parameter"),
        (Tensors, "first[0] (Parameter) is in a list"),
        (Tensors, "use torch.nn.ParameterList"),
    ],
)
def test_weights_that_pytorch_does_not_see_are_refused(network: type, said: str) -> None:
    with pytest.raises(UserError) as refused:
        fit(network)
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"model={HERE}.{network.__name__}: ")


class Registered(Layers):
    def hold(self, layer: nn.Linear) -> None:
        self.layers = nn.ModuleList([layer])
        self.first = [layer, self.last, layer.weight]  # once more

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.first[:2]:
            x = layer(x)
        return x


class Teacher(Layers):
    """A network that is not to be trained, kept out of the weights by a list."""

    def hold(self, layer: nn.Linear) -> None:
        self.first = [layer.requires_grad_(False)]
        self.means = torch.zeros(3)
        self.names = ["a", 1, {"b": None}]


@pytest.mark.parametrize("network", [Registered, Teacher])
def test_lists_of_other_kinds_are_let_through(network: type) -> None:
    assert fit(network).notes == []


class NoGrad(Layers):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(x)


def test_an_output_that_no_weight_has_a_part_in_is_refused() -> None:
    with pytest.raises(UserError, match="so none can learn"):
        fit(NoGrad)


class Detached(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.first(x).detach())


class Frozen(Detached):
    def hold(self, layer: nn.Linear) -> None:
        self.first = layer.requires_grad_(False)


class Softmax(Registered):
    def forward(self, x: Tensor) -> Tensor:
        return functional.softmax(super().forward(x), dim=1)


class LogSoftmax(Registered):
    def forward(self, x: Tensor) -> Tensor:
        return functional.log_softmax(super().forward(x), dim=1)


class ReLU(Registered):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


NLL = "loss=torch.nn.NLLLoss"


@pytest.mark.parametrize(
    ("network", "loss", "said"),
    [
        (Detached, "loss=cross_entropy", ["2 weight tensors had no part in its output, and will not learn: first.weight, first.bias"]),
        (Frozen, "loss=cross_entropy", []),
        (Softmax, "loss=cross_entropy", ["ends with a softmax, but CrossEntropyLoss takes the numbers before it (logits): leave it out"]),
        (Softmax, "loss=nll", ["ends with a softmax, but NLLLoss takes the numbers before it (logits): leave it out"]),
        (Softmax, "loss=mse", []),
        (ReLU, "loss=cross_entropy", ["ends with a ReLU, but CrossEntropyLoss takes the numbers before it (logits): leave it out"]),
        (LogSoftmax, "loss=cross_entropy", []),
        (LogSoftmax, NLL, []),
        (Registered, NLL, ["ends with a linear layer, but torch.nn.NLLLoss takes log-softmax: loss=nll computes it, too"]),
        (Registered, "loss=nll", []),
    ],
)  # fmt: skip
def test_what_trains_but_not_well_is_noted(network: type, loss: str, said: list[str]) -> None:
    about = f"model={HERE}.{network.__name__}"
    assert fit(network, loss).notes == [f"{about}: {each}" for each in said]


def test_a_run_says_it_before_it_trains(train: Any) -> None:
    ended = train("data=digits", f"model={HERE}.Detached", "trainer.epochs=1")
    assert ended.code == 0, ended.err
    assert "will not learn: first.weight, first.bias" in ended.out.partition("epoch")[0]
    ended = train("data=digits", f"model={HERE}.InList", "trainer.epochs=1")
    assert ended.code == 2
    assert "first[1] (Linear) is in a list" in ended.err


def fit(network: type, *overrides: str) -> trial.Fitted:
    words = [f"model={HERE}.{network.__name__}", "data=digits", *overrides]
    return trial.fit_network(config.compose(words))
