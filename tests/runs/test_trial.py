"""Network, loss and optimizer are tried before any work: only what fails on real examples is refused."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sweeplab.config import Config, compose
from sweeplab.errors import UserError
from sweeplab.runs import optimizer_trial, parts, trial
from sweeplab.runs.trial import Parameter

HERE = __name__


class Net(nn.Module):
    """64 numbers -> 10, with a layer that the others below build on."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.last(x)
        return output


# --- Constructors that the meta device fails --------------------------------------------------------------------------


class Linspace(Net):
    """Stochastic depth, as Swin and DINOv2 have it."""

    def __init__(self) -> None:
        super().__init__()
        self.rates = [torch.linspace(0, 0.5, 4)[i].item() for i in range(4)]


class ToList(Net):
    """Widths that a tensor was asked for, as in regnet."""

    def __init__(self) -> None:
        super().__init__()
        self.more = nn.ModuleList(nn.Linear(n, 2) for n in torch.tensor([2, 3]).tolist())


class ToNumpy(Net):
    """Initial weights by way of numpy."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.ones(3).numpy() * np.random.rand(3)


class AsksValues(Net):
    """Checks its initial weights."""

    def __init__(self) -> None:
        super().__init__()
        assert self.last.weight.abs().max() < 1


class AsBool(Net):
    """Decides by a tensor."""

    def __init__(self) -> None:
        super().__init__()
        if torch.rand(1) > 2:
            raise ValueError("cannot be")


class AsInt(Net):
    """Takes a size from a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.side = int(torch.tensor(64.0).sqrt())


class AsFloat(Net):
    """Takes a number from a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = float(torch.tensor(2.0).log())


class Iterates(Net):
    """Iterates over a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.dilations = [int(n) for n in torch.arange(1, 4)]


class Prints(Net):
    """Prints its weights."""

    def __init__(self) -> None:
        super().__init__()
        print(self.last.weight[0, :2])


class Nonzero(Net):
    """Takes indices from a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = torch.nonzero(torch.arange(64) % 2)


class Quantile(Net):
    """Counts unique values."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = torch.unique(torch.tensor([1, 1, 2]))


class Allclose(Net):
    """Compares tensors."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.orthogonal_(self.last.weight)
        assert torch.allclose(self.last.weight @ self.last.weight.T, torch.eye(10), atol=1e-4)


class LoadsState(Net):
    """Loads weights that it computed on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.last.load_state_dict(
            {"weight": torch.zeros(10, 64, device="cpu"), "bias": torch.zeros(10, device="cpu")}
        )
        self.kept = self.last.weight.sum().item()


class MixesDevices(Net):
    """Adds a tensor that is expressly on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(10, device="cpu") + torch.ones(10))


class FromNumpy(Net):
    """Holds a table that numpy made."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.from_numpy(np.eye(64, dtype=np.float32)))
        self.last.weight.data.copy_(self.table[:10])

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x @ self.table)


class Scripted(Net):
    """Is compiled in part."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.jit.trace(nn.Linear(10, 10), torch.zeros(2, 10, device="cpu"))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(super().forward(x))
        return output


CONSTRUCTORS = [
    Linspace, ToList, ToNumpy, AsksValues, AsBool, AsInt, AsFloat, Iterates, Prints, Nonzero, Quantile, Allclose,
    LoadsState, MixesDevices, FromNumpy,
]  # fmt: skip


# --- Forward passes that the meta device fails ------------------------------------------------------------------------


class OwnState(Net):
    """An LSTM whose state begins with zeros on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 64, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(1, len(x), 64), torch.zeros(1, len(x), 64)
        return super().forward(self.lstm(x.reshape(-1, 8, 8), state)[0][:, -1])


class OwnGRUState(Net):
    """The same with a GRU, whose state is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 64, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gru(x.reshape(-1, 8, 8), torch.randn(1, len(x), 64))[0][:, -1])


class Branches(Net):
    """Decides by a sum."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else -x)


class AssertsFinite(Net):
    """Asserts what it gets."""

    def forward(self, x: Tensor) -> Tensor:
        assert torch.isfinite(x).all(), "not finite"
        return super().forward(x)


class NeedsInk(Net):
    """Takes no blank pictures, so that only real examples will do."""

    def forward(self, x: Tensor) -> Tensor:
        assert (x.sum(1) > 0).all(), "a blank picture"
        return super().forward(x)


class Embeds(Net):
    """Looks pixels up in a table, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(17, 1)

    def forward(self, x: Tensor) -> Tensor:
        indices = (x * 16).long()
        assert indices.max() < 17
        return super().forward(self.table(indices).squeeze(-1))


class Item(Net):
    """Scales by a number."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / max(1.0, x.max().item()))


class ThroughNumpy(Net):
    """Looks at a histogram by numpy."""

    def forward(self, x: Tensor) -> Tensor:
        shift = float(np.histogram(x.detach().numpy(), 4)[0].mean())
        return super().forward(x + shift)


class Masks(Net):
    """Selects by a mask."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x[x > 0.5].sum()


class CPUBuffer(Net):
    """Adds a tensor that is on the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.arange(10)


class Noisy(Net):
    """Adds noise made without a device."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * torch.randn(x.shape) + random.random())


class PrintsOutput(Net):
    """Prints what it computed."""

    def forward(self, x: Tensor) -> Tensor:
        output = super().forward(x)
        print(f"{output[0, 0]:.3f}")
        return output


class Routes(Net):
    """A mixture of experts, which goes through those that were chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(64, 10) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        chosen = x[:, :3].argmax(1)
        output = super().forward(x)
        for number in chosen.unique().tolist():
            output = output.index_add(
                0, (chosen == number).nonzero().flatten(), self.experts[number](x[chosen == number])
            )
        return output


class Loops(Net):
    """Halts by a value."""

    def forward(self, x: Tensor) -> Tensor:
        while x.norm() > 1:
            x = x / 2
        return super().forward(x)


class Scans(Net):
    """Iterates over lengths."""

    def forward(self, x: Tensor) -> Tensor:
        lengths = (x > 0).sum(1)
        return super().forward(
            torch.stack([row / max(1, int(n)) for row, n in zip(x, lengths, strict=True)])
        )


class Normalised(Net):
    """BatchNorm on a batch of two."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(64)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        if self.seen.item() < 0:
            raise ValueError("cannot be")
        return super().forward(self.norm(x))


class Differentiates(Net):
    """Takes a gradient in its forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.requires_grad_()
        (slope,) = torch.autograd.grad(super().forward(x).sum(), x, create_graph=True)
        return super().forward(x + slope) + float(slope.sum())


FORWARDS = [
    OwnState, OwnGRUState, Branches, AssertsFinite, NeedsInk, Embeds, Item, ThroughNumpy, Masks, CPUBuffer, Noisy,
    PrintsOutput, Routes, Loops, Scans, Normalised, Differentiates,
]  # fmt: skip


def config(target: str, *overrides: str) -> Config:
    """The digits, and a network without arguments."""
    bare = ("data=digits", "model=linear", "~model.in_features", "~model.out_features")
    return compose([*bare, f"model._target_={target}", *overrides])


def fit(target: str, *overrides: str) -> trial.Fitted:
    settings = config(target, *overrides)
    fitted = trial.fit_network(settings)
    optimizer_trial.fit(settings, optimizer_trial.parameter_groups(settings, fitted))
    return fitted


@pytest.mark.usefixtures("root")
class TestNetworks:
    @pytest.mark.parametrize(
        "network", [*CONSTRUCTORS, *FORWARDS], ids=lambda network: network.__name__
    )
    def test_what_works_on_two_examples_is_let_through(self, network: type[nn.Module]) -> None:
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].sum()
        fitted = fit(f"{HERE}.{network.__name__}")
        assert Parameter((10, 64), torch.float32) in fitted.parameters.values()
        assert ("last", "[B, 10]", 650) in [
            (row.name, row.output, row.parameters) for row in fitted.layers
        ]
        assert fitted.weights["last.weight"] == [10, 64]
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (random.getstate(), np.random.get_state()[1].sum()) == before[1:]

    @pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
    @pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # PyTorch 2.11
    def test_a_traced_part_is_let_through(self) -> None:
        assert fit(f"{HERE}.Scripted").weights["head.weight"] == [10, 10]

    @pytest.mark.parametrize(
        ("name", "size"),
        [
            ("swin_t", 27),
            ("regnet_y_400mf", 3),
            ("vit_b_16", 85),
            ("mnasnet0_5", 0),
            ("resnet18", 11),
        ],
    )
    def test_torchvisions_networks_are_let_through(self, name: str, size: int) -> None:
        picture = ("data.in_features=3072", "data.shape=[3,32,32]", "data.flatten=false")
        more = ["+model.image_size=32"] if name == "vit_b_16" else []
        settings = config(f"torchvision.models.{name}", *picture, *more, "+model.num_classes=10")
        assert parts.problems(settings) == []
        fitted = trial.fit_network(settings)
        assert sum(map(math.prod, fitted.weights.values())) // 1_000_000 == size
        assert fitted.layers[-1].output == "[B, 10]"

    def test_a_lazy_layer_has_its_shape_after_the_trial(self) -> None:
        fitted = fit("torch.nn.LazyLinear", "+model.out_features=10")
        assert list(fitted.parameters.values()) == [
            Parameter((10, 64), torch.float32),
            Parameter((10,), torch.float32),
        ]

    @pytest.mark.parametrize(
        ("network", "message"),
        [
            ("Fails", "not with these numbers"),
            (
                "FailsLate",
                "does not take inputs of shape [B, 64] (data=digits, data.flatten=true): too dark",
            ),
            (
                "OneNumber",
                "model: the network's output has the shape [B], but data=digits needs [B, 10] (classes)",
            ),
            (
                "Thirteen",
                "model: the network's output has the shape [B, 13], but data=digits needs [B, 10] (classes)",
            ),
            ("Doubles", "Float and Double; inputs are float32, and so must its weights be"),
        ],
    )
    def test_what_fails_there_is_refused_with_its_own_message(
        self, network: str, message: str
    ) -> None:
        with pytest.raises(UserError) as refused:
            fit(f"{HERE}.{network}")
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_a_network_may_compute_in_float64(self) -> None:
        fitted = fit(f"{HERE}.CastsToDouble")
        assert {each.dtype for each in fitted.parameters.values()} == {torch.float64}

    def test_a_large_network_is_not_built_on_the_cpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(trial, "LARGE", 100)
        assert fit(f"{HERE}.Branches").layers == []
        with pytest.raises(UserError, match="needs"):
            fit(f"{HERE}.Wide")


class Doubles(nn.Linear):
    """Weights of another type than the inputs."""

    def __init__(self) -> None:
        super().__init__(64, 10, dtype=torch.float64)


class CastsToDouble(Doubles):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.double())


class Fails(Net):
    """A constructor that refuses, after it has looked at a value."""

    def __init__(self) -> None:
        super().__init__()
        if torch.ones(1).item() == 1:
            raise ValueError("not with these numbers")


class FailsLate(Net):
    """A forward pass that refuses any example."""

    def forward(self, x: Tensor) -> Tensor:
        if x.max() <= math.inf:
            raise ValueError("too dark")
        return x


class OneNumber(Net):
    """Forgets a dimension, and looks at values."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, 0] * (1 if x.sum() > 0 else 2)


class Thirteen(nn.Linear):
    """Too many classes, and looks at values."""

    def __init__(self) -> None:
        super().__init__(64, 13)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x if x.sum() > 0 else -x)


class Wide(nn.Linear):
    """Too many classes."""

    def __init__(self) -> None:
        super().__init__(64, 13)


# --- Losses -----------------------------------------------------------------------------------------------------------


class BothClasses(nn.CrossEntropyLoss):
    """Compares examples of different classes."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        assert len(target.unique()) > 1, "needs two classes"
        return super().forward(input, target)


class Centre(nn.Module):
    """A loss with parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.zeros(10, 10, 1))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - self.centres[target, :, 0]).square().mean()


class Five(nn.Module):
    """Gives a plain number."""

    def forward(self, output: Tensor, target: Tensor) -> float:
        return 5.0


@pytest.mark.usefixtures("root")
class TestLosses:
    def loss(self, name: str) -> trial.Fitted:
        return fit(
            "torch.nn.Linear",
            "+model._args_=[64,10]",
            f"loss._target_={HERE}.{name}",
            "~loss.label_smoothing",
        )

    def test_one_that_takes_no_zeros_is_let_through(self) -> None:
        assert self.loss("BothClasses")

    def test_its_parameters_are_the_optimizers_too(self) -> None:
        assert Parameter((10, 10, 1), torch.float32) in self.loss("Centre").parameters.values()

    def test_it_gives_a_tensor(self) -> None:
        with pytest.raises(UserError, match="must give a tensor, gave a float"):
            self.loss("Five")


# --- Optimizers -------------------------------------------------------------------------------------------------------


class OnlyMatrices(torch.optim.SGD):
    """Looks at its parameters in the first step only."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.ndim != 2:
                    raise ValueError(f"takes matrices only, not {parameter.ndim} dimensions")
        return super().step(closure)


class Sparse(nn.EmbeddingBag):
    """A classifier whose gradients are sparse."""

    def __init__(self) -> None:
        super().__init__(2, 10, sparse=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward((x > 0.5).long())


@pytest.mark.usefixtures("root")
class TestOptimizers:
    def fit(self, optimizer: str, *overrides: str, network: str = "model.bias=false") -> str:
        settings = compose(["data=digits", "model=linear", f"+{network}", "optimizer=sgd", "~optimizer.fused",
                            "~optimizer.momentum", f"optimizer._target_={optimizer}", *overrides])  # fmt: skip
        assert parts.problems(settings) == []
        try:
            optimizer_trial.fit(
                settings, optimizer_trial.parameter_groups(settings, trial.fit_network(settings))
            )
        except UserError as error:
            return str(error)
        return ""

    def test_muon_takes_matrices(self) -> None:
        assert self.fit("torch.optim.Muon") == ""

    @pytest.mark.parametrize("device", ["auto", "cpu"])
    def test_muon_says_why_it_takes_no_bias(self, device: str) -> None:
        assert self.fit(
            "torch.optim.Muon", f"trainer.device={device}", network="model.bias=true"
        ) == (
            "optimizer: Muon only supports 2D parameters whereas we found a parameter with size: torch.Size([10]) "
            "(torch.optim.Muon)"
        )

    def test_a_large_parameter_is_named_with_its_own_size(self) -> None:
        settings = compose(
            ["data=digits", "optimizer._target_=torch.optim.Muon", "~optimizer.fused"]
        )
        large = Parameter((64, 32, 300), torch.float32)
        with pytest.raises(UserError, match=r"size: torch.Size\(\[64, 32, 300\]\)"):
            optimizer_trial.fit(settings, {"": [({}, (large,))]})

    def test_one_that_refuses_in_its_step_is_refused(self) -> None:
        assert self.fit(f"{HERE}.OnlyMatrices") == ""
        assert self.fit(f"{HERE}.OnlyMatrices", network="model.bias=true") == (
            f"optimizer={HERE}.OnlyMatrices: takes matrices only, not 1 dimensions"
        )

    @pytest.mark.parametrize(
        ("name", "overrides"),
        [
            ("Adam", ["+optimizer.fused=true"]),
            ("AdamW", ["+optimizer.foreach=true", "+optimizer.amsgrad=true"]),
            (
                "SGD",
                ["+optimizer.fused=true", "+optimizer.momentum=0.9", "+optimizer.nesterov=true"],
            ),
            ("Adagrad", ["+optimizer.fused=true"]),
            ("LBFGS", ["~optimizer.weight_decay"]),
            ("Adafactor", []),
            ("ASGD", []),
            ("NAdam", []),
            ("RAdam", []),
            ("Rprop", ["~optimizer.weight_decay"]),
            ("RMSprop", ["+optimizer.centered=true"]),
            ("Adadelta", []),
            ("Adamax", []),
        ],
    )
    def test_torchs_own_take_any_network(self, name: str, overrides: list[str]) -> None:
        assert self.fit(f"torch.optim.{name}", *overrides, network="model.bias=true") == ""

    def test_sparse_gradients_are_tried_as_such(self) -> None:
        def said(optimizer: str) -> str:
            chosen = ("optimizer=adam", f"optimizer._target_=torch.optim.{optimizer}")
            try:
                fit(f"{HERE}.Sparse", *chosen, "~optimizer.fused", "~optimizer.weight_decay")
            except UserError as error:
                return str(error)
            return ""

        assert said("SparseAdam") == ""
        assert "Adam does not support sparse gradients" in said("Adam")
        assert "SparseAdam does not support dense gradients" in self.fit(
            "torch.optim.SparseAdam", "~optimizer.weight_decay"
        )


class LazyHead(nn.Module):
    """A loss whose parameters have no shape before its first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.LazyLinear(10)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.head(output), target)


@pytest.mark.usefixtures("root")
def test_a_lazy_loss_is_refused_by_name() -> None:
    config = compose(["data=digits", f"loss._target_={__name__}.LazyHead", "~loss.label_smoothing"])
    with pytest.raises(UserError, match=r"^loss: has parameters without a shape"):
        trial.fit_network(config)
