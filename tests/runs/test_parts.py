"""The parts of a run fit together, or the user is told which do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LinearLR

from sweeplab.config import Config, compose
from sweeplab.errors import UserError
from sweeplab.runs import optimizer_trial, parts, trial
from sweeplab.runs.build import build
from sweeplab.runs.job import prepare
from sweeplab.runs.screen import Layer
from sweeplab.train.device import Runtime

HERE = __name__


def fit(config: Config) -> list[Layer]:
    """All that is tried of a config before it is trained; the layer table."""
    fitted = trial.fit_network(config)
    optimizer_trial.fit(config, optimizer_trial.parameter_groups(config, fitted))
    return fitted.layers


class TwoOutputs(nn.Linear):
    """A network that returns a pair."""

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # noqa: A002
        return super().forward(input), input


class Turned(nn.Linear):
    """A network with a parameter that is a complex number."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.turn = nn.Parameter(torch.ones(in_features, dtype=torch.complex64))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward((input * self.turn).real)


class OwnSchedule(LinearLR):
    """A schedule that may change what is trained, as one that freezes layers later does."""


class OwnAdam(Adam):
    """An optimizer that may change what is trained."""


class LooksAtValues(nn.Linear):
    """A network that decides by the values of its inputs, so that it cannot run without them."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(input * 2 if input.sum() > 0 else input)


class NotAModule:
    """What no network is."""


class PerExample(nn.CrossEntropyLoss):
    """A loss that forgets to take the mean."""

    def __init__(self) -> None:
        super().__init__(reduction="none")


def digits(*overrides: str) -> Config:
    return compose(["data=digits", *overrides])


def refused(*overrides: str) -> str:
    with pytest.raises(UserError) as error:
        fit(digits(*overrides))
    return str(error.value)


@pytest.mark.usefixtures("root")
class TestFit:
    def test_the_layer_table_has_every_layer_with_its_output_and_parameters(self) -> None:
        rows = fit(digits("model.hidden=32"))
        assert [(r.name, r.kind, r.output, r.parameters) for r in rows] == [
            ("0", "Linear", "[B, 32]", 64 * 32 + 32),
            ("1", "BatchNorm1d", "[B, 32]", 2 * 32),
            ("2", "ReLU", "[B, 32]", 0),
            ("3", "Linear", "[B, 10]", 32 * 10 + 10),
        ]

    def test_the_mnist_network_of_the_readme_has_387894_parameters(self) -> None:
        assert sum(row.parameters for row in fit(compose([]))) == 387_894
        assert sum(row.parameters for row in fit(compose(["model=linear"]))) == 7_850

    @pytest.mark.parametrize("model", ["linear", "mlp", "cnn"])
    @pytest.mark.parametrize("loss", ["cross_entropy", "nll", "mse"])
    @pytest.mark.parametrize("data", ["mnist", "digits"])
    def test_every_network_fits_every_loss_of_a_classification(
        self, model: str, loss: str, data: str
    ) -> None:
        assert (
            fit(compose([f"model={model}", f"loss={loss}", f"data={data}"]))[-1].output == "[B, 10]"
        )

    @pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
    @pytest.mark.parametrize("scheduler", ["constant", "one_cycle", "cosine", "plateau"])
    def test_every_optimizer_takes_every_scheduler(self, optimizer: str, scheduler: str) -> None:
        config = digits(f"optimizer={optimizer}", f"scheduler={scheduler}")
        assert parts.problems(config) == []
        assert len(fit(config)) == 7

    def test_no_random_number_is_drawn(self) -> None:
        before = torch.get_rng_state()
        fit(digits())
        assert torch.equal(torch.get_rng_state(), before)

    def test_a_foreign_network_fits_too(self) -> None:
        assert fit(
            digits("model=linear", "model._target_=torch.nn.LazyLinear", "~model.in_features")
        )

    def test_one_example_at_a_time_is_refused_where_batch_norm_takes_two(self) -> None:
        with pytest.raises(UserError, match="batch_size=1: BatchNorm cannot normalise one example"):
            prepare(digits("trainer.batch_size=1"), [])
        assert prepare(digits("trainer.batch_size=1", "model.batch_norm=false"), []).layers

    def test_a_network_that_looks_at_values_is_tried_on_the_cpu(self) -> None:
        rows = fit(digits("model=linear", f"model._target_={HERE}.LooksAtValues"))
        assert rows == [Layer(name="-", kind="LooksAtValues", output="[B, 10]", parameters=650)]

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["model.hidden=0"], "model.hidden=0: hidden must be a whole number >= 1 or a list of them, got 0"),
            (["model.hidden=abc"], "model.hidden=abc: hidden must be a whole number >= 1 or a list of them, got abc"),
            (["model.hidden=[]"], "model.hidden=[]: hidden must be a whole number >= 1 or a list of them, got []"),
            (["model.dropout=1.5"], "model.dropout=1.5: dropout must be a number from 0 to below 1, or null, got 1.5"),
            (["model.activation=rellu"], "model.activation=rellu: activation must be one of torch.nn in lower case"),
            (["optimizer.lr=-1"], "optimizer.lr=-1: Invalid learning rate: -1"),
            (["scheduler=cosine", "scheduler.T_max=abc"], "scheduler=torch.optim.lr_scheduler.CosineAnnealingLR: unsupported operand"),
            (["model.out_features=3"], "model.out_features=3: the network's output has the shape [B, 3], but data=digits needs [B, 10] (classes)"),
            (["model.in_features=63"], "model=sweeplab.models.MLP: does not take inputs of shape [B, 64]"),
            (["data=diabetes"], "loss=torch.nn.CrossEntropyLoss: is for classes, but data=diabetes is a regression; use loss=mse"),
            (["loss._target_=torch.nn.L1Loss", "~loss.label_smoothing"], "loss=torch.nn.L1Loss: does not fit outputs [B, 10]"),
            (["loss._target_=" + HERE + ".PerExample", "~loss.label_smoothing"], "must give one number a batch, not shape [2]"),
            (["model=linear", f"model._target_={HERE}.TwoOutputs"], "must return one tensor, returned a tuple; a step of your own takes what it likes"),
            (["model=linear", f"model._target_={HERE}.Turned"], "torch.complex64 and cpu; did you mean 'optimizer.fused=false'?"),
            (["model=linear", f"model._target_={HERE}.NotAModule", "~model.in_features", "~model.out_features"], "must be a torch.nn.Module, is a NotAModule"),
        ],
    )  # fmt: skip
    def test_what_does_not_fit_is_named(self, overrides: list[str], message: str) -> None:
        assert message in refused(*overrides)


@pytest.mark.usefixtures("root")
class TestProblems:
    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["+model.hiden=3"], "model.hiden=3: sweeplab.models.MLP has no argument 'hiden'; did you mean 'hidden'?"),
            (["+optimizer.nonsense=1"], "optimizer.nonsense=1: torch.optim.Adam has no argument 'nonsense'"),
            (["optimizer._target_=torch.optim.Adamm"], "did you mean 'torch.optim.Adam'?"),
            (["trainer.monitor=valid/acuracy"], "trainer.monitor=valid/acuracy: no such metric; did you mean 'valid/accuracy'?"),
            (["data.dataset._target_=[8,[8]]"], "data.dataset._target_=[8, [8]]: must be the dotted name of a class"),
            (["data.dataset._target_=sweeplab.data.Digitz"], "did you mean 'sweeplab.data.Digits'?"),
            (["+metrics.f1._target_=sweeplab.nothing"], "metrics.f1._target_=sweeplab.nothing"),
            (["~data.dataset._target_"], "data.dataset._target_: is missing"),
        ],
    )  # fmt: skip
    def test_signatures_are_checked_on_the_final_config(
        self, overrides: list[str], message: str
    ) -> None:
        assert message in "\n".join(parts.problems(digits(*overrides)))

    def test_a_config_that_is_in_order_has_none(self) -> None:
        share = ("+metrics.share._target_=own.Share", "trainer.monitor=valid/share")
        assert parts.problems(digits(*share, "trainer.mode=max")) == []

    def test_which_way_a_metric_of_the_users_own_is_better_must_be_said(self) -> None:
        share = ("+metrics.share._target_=own.Share", "trainer.monitor=valid/share")
        assert parts.problems(digits(*share)) == [
            "trainer.mode=auto: nothing says which way valid/share is better; give max or min"
        ]

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["trainer.monitor=valid/loss", "trainer.mode=max"], "trainer.mode=max: valid/loss is better the smaller it is; give min, or auto"),
            (["trainer.monitor=train/loss", "trainer.mode=max"], "trainer.mode=max: train/loss is better the smaller it is; give min, or auto"),
            (["trainer.mode=min"], "trainer.mode=min: valid/accuracy is better the larger it is; give max, or auto"),
            (["trainer.monitor=train/accuracy", "trainer.mode=min"], "trainer.mode=min: train/accuracy is better the larger it is; give max, or auto"),
            (["trainer.target=85"], "trainer.target=85: valid/accuracy is at least 0 and at most 1; give a number above 0, up to 1, as in 0.85 for 85 %"),
            (["trainer.target=1.01"], "trainer.target=1.01: valid/accuracy is at least 0 and at most 1; give a number above 0, up to 1"),
            (["trainer.target=0"], "trainer.target=0: valid/accuracy is at least 0 and at most 1; give a number above 0, up to 1"),
            (["trainer.target=-0.5"], "trainer.target=-0.5: valid/accuracy is at least 0 and at most 1; give a number above 0, up to 1"),
            (["trainer.monitor=valid/loss", "trainer.target=-1"], "trainer.target=-1: valid/loss is never below 0; give a number >= 0"),
            (["loss=nll", "trainer.monitor=train/loss", "trainer.target=-1"], "trainer.target=-1: train/loss is never below 0; give a number >= 0"),
            (["loss=mse", "trainer.monitor=valid/loss", "trainer.target=-1"], "trainer.target=-1: valid/loss is never below 0; give a number >= 0"),
            (["trainer.min_delta=1"], "trainer.min_delta=1: valid/accuracy never changes by more than 1; give less"),
        ],
    )  # fmt: skip
    def test_what_contradicts_itself_is_refused(self, overrides: list[str], message: str) -> None:
        assert parts.problems(digits("scheduler=constant", *overrides)) == [message]

    @pytest.mark.parametrize(
        "overrides",
        [
            ["trainer.target=1"],
            ["trainer.monitor=valid/loss", "trainer.mode=min", "trainer.target=85"],
            ["trainer.monitor=valid/loss", "trainer.target=0", "trainer.min_delta=3"],
            ["trainer.monitor=valid/loss", "trainer.target=-1", "loss._target_=torch.nn.NLLLoss", "~loss.label_smoothing"],
            ["+metrics.share._target_=own.Share", "trainer.monitor=valid/share", "trainer.mode=min", "trainer.target=85"],
        ],
    )  # fmt: skip
    def test_what_does_not_is_taken(self, overrides: list[str]) -> None:
        assert parts.problems(digits("scheduler=constant", *overrides)) == []

    def test_an_error_is_never_below_0(self) -> None:
        mae = ("data=diabetes", "loss=mse", "trainer.monitor=valid/mae")
        assert parts.problems(digits(*mae, "trainer.target=-1")) == [
            "trainer.target=-1: valid/mae is never below 0; give a number >= 0"
        ]
        assert parts.problems(digits(*mae, "trainer.target=50", "trainer.min_delta=2")) == []

    def test_targets_are_found_at_every_depth(self) -> None:
        assert parts.class_paths(digits()) == [
            "sweeplab.models.MLP",
            "torch.nn.CrossEntropyLoss",
            "torch.optim.Adam",
            "torch.optim.lr_scheduler.ReduceLROnPlateau",
            "sweeplab.data.Digits",
        ]


CPU = Runtime(device=torch.device("cpu"), threads=1, precision="fp32")


def test_build_fills_in_what_only_the_run_knows(root: Path) -> None:
    one_cycle = build(
        digits("scheduler=one_cycle", "trainer.epochs=3"), CPU, updates=10
    ).updater.scheduler
    assert one_cycle.total_steps == 30  # type: ignore[union-attr]
    plateau = build(digits("scheduler=plateau"), CPU, updates=10).updater.scheduler
    assert plateau.mode == "max"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("overrides", "is_captured"),
    [
        ([], True),
        (["optimizer=torch.optim.AdamW", "+optimizer.fused=true", "scheduler=plateau"], True),
        ([f"optimizer={HERE}.OwnAdam"], False),
        ([f"scheduler={HERE}.OwnSchedule"], False),
    ],
)
def test_a_step_is_captured_where_nothing_of_the_users_own_can_change_it(
    root: Path, overrides: list[str], is_captured: bool
) -> None:
    state = build(digits(*overrides), CPU, updates=10)
    assert (state.captured is not None) is is_captured
    is_direct = type(state.updater.optimizer).__module__ == "sweeplab.speed.adam"
    assert is_direct is is_captured


def test_the_seed_decides_the_initial_weights_alone(root: Path) -> None:
    def weights(*overrides: str) -> Tensor:
        return build(digits(*overrides), CPU, updates=1).model.state_dict()["0.weight"]

    assert torch.equal(weights(), weights("trainer.epochs=3"))
    assert not torch.equal(weights(), weights("seed=1"))
