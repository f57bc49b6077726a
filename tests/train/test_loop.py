"""The training loop: every number in it proven, by hand or against torch."""

from __future__ import annotations

import copy
import math
import shutil
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any

import pytest
import torch
from tiny import linear, train_state
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sweeplab.metrics import CLASSIFICATION, REGRESSION, EpochResult
from sweeplab.models import MLP, MSELoss, NLLLoss
from sweeplab.train.loop import epochs, evaluate, train_epoch, train_step
from sweeplab.train.train_state import Batch, TrainState


def run(job: TrainState, train: list[Batch], valid: list[Batch], count: int) -> list[EpochResult]:
    return list(islice(epochs(job, lambda _: train, lambda: valid), count))


ONE = [(torch.tensor([[1.0]]), torch.tensor([[0.0]]))]  # one example whose target is 0


# --- One step ---------------------------------------------------------------------------------------------------------


def test_a_step_of_sgd_by_hand() -> None:
    # 2 -> h = [2, -2] -> relu [2, 0] -> 3 * 2 + 5 * 0 + 1 = 7; the target is 5, so the loss is 4 and its slope 4.
    first, last = linear([[1.0], [-1.0]], [0.0, 0.0]), linear([[3.0, 5.0]], [1.0])
    job = train_state(nn.Sequential(first, nn.ReLU(), last))
    loss, output = train_step(job, torch.tensor([[2.0]]), torch.tensor([[5.0]]))
    assert loss.item() == 4.0
    assert output.tolist() == [[7.0]]
    # gradients: last 4 * [2, 0] and 4; first, through the open relu alone, 4 * 3 * 2 = 24 and 12; times 0.125
    assert last.weight.tolist() == [[2.0, 5.0]]
    assert last.bias.tolist() == [0.5]
    assert first.weight.tolist() == [[-2.0], [-1.0]]
    assert first.bias.tolist() == [-1.5, 0.0]


def test_two_steps_of_adam_by_its_formula() -> None:
    layer = linear([[2.0]])
    job = train_state(
        layer, optimizer=Adam(layer.parameters(), lr=0.1, betas=(0.9, 0.999), eps=1e-8)
    )
    w, m, v = 2.0, 0.0, 0.0
    for step in (1, 2):
        train_step(job, torch.tensor([[3.0]]), torch.tensor([[0.0]]))
        gradient = 2 * (3 * w) * 3  # of (3 w) ** 2
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w -= 0.1 * (m / (1 - 0.9**step)) / (math.sqrt(v / (1 - 0.999**step)) + 1e-8)
        assert layer.weight.item() == pytest.approx(w, rel=1e-6)
    assert w == pytest.approx(1.8001665, abs=1e-7)


def test_gradients_do_not_add_up_over_steps() -> None:
    layer = linear([[1.0]])
    job = train_state(layer, optimizer=SGD(layer.parameters(), lr=0.0))
    for _ in range(2):
        train_step(job, *ONE[0])
    assert layer.weight.grad is not None
    assert layer.weight.grad.item() == 2.0


@pytest.mark.parametrize(
    ("clip_norm", "weight"), [(1.0, [-0.6, -0.8]), (10.0, [-3.0, -4.0]), (None, [-3.0, -4.0])]
)
def test_clip_norm_bounds_the_gradient(clip_norm: float | None, weight: list[float]) -> None:
    layer = linear([[0.0, 0.0]])  # output 0, target -0.5: the gradient is [3, 4], of norm 5
    job = train_state(layer, optimizer=SGD(layer.parameters(), lr=1.0), clip_norm=clip_norm)
    train_step(job, torch.tensor([[3.0, 4.0]]), torch.tensor([[-0.5]]))
    assert layer.weight.tolist()[0] == pytest.approx(weight, rel=1e-6)


def test_clip_norm_is_of_all_gradients_together() -> None:
    model = nn.Sequential(linear([[0.0], [0.0]], [0.0, 0.0]), linear([[3.0, 4.0]], [0.0]))
    job = train_state(model, clip_norm=0.5)
    train_step(job, torch.tensor([[2.0]]), torch.tensor([[-7.0]]))
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    assert torch.stack(norms).norm().item() == pytest.approx(0.5, rel=1e-5)
    assert (
        sum(norm.item() > 0 for norm in norms) == 3
    )  # both of the first layer, the bias of the last


class Shaped(nn.Module):
    """A network whose output has another shape in evaluation, for a batch of one, or always."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.layer = kind, nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Any:
        output = self.layer(x)
        shapes = {
            "flat": output[:, 0],
            "flat in evaluation": output if self.training else output[:, 0],
            "squeezed": output.squeeze(0),
            "pair": (output, x),
            "wide": output.repeat(1, 3),
        }
        return shapes[self.kind]


@pytest.mark.parametrize(
    ("kind", "size", "evaluated", "message"),
    [
        ("flat", 2, False, r"the network's output has the shape \[2\], but \[2, 1\] is needed"),
        ("wide", 2, False, r"the network's output has the shape \[2, 3\], but \[2, 1\] is needed"),
        ("pair", 2, False, r"the network's output is a tuple, but \[2, 1\] is needed"),
        ("squeezed", 1, True, r"the network's output has the shape \[1\], but \[1, 1\] is needed"),
        (
            "flat in evaluation",
            2,
            True,
            r"the network's output has the shape \[2\], but \[2, 1\] is needed",
        ),
    ],
)
def test_an_output_of_another_shape_is_refused_before_a_step(
    kind: str, size: int, evaluated: bool, message: str
) -> None:
    job = train_state(Shaped(kind), outputs=1)
    before = [parameter.clone() for parameter in job.model.parameters()]
    inputs, targets = torch.ones(size, 2), torch.ones(size, 1)
    with pytest.raises(ValueError, match=message):
        evaluate(job, [(inputs, targets)]) if evaluated else train_step(job, inputs, targets)
    assert all(torch.equal(*both) for both in zip(before, job.model.parameters(), strict=True))


def test_a_loss_that_is_not_one_number_is_refused() -> None:
    class Listed(nn.MSELoss):
        def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
            return super().forward(input, target).reshape(1)

    with pytest.raises(ValueError, match=r"must be one number, not of shape \[1\]"):
        train_step(train_state(linear([[1.0]]), Listed()), *ONE[0])


def test_an_optimizer_that_looks_several_times_takes_a_step_too() -> None:
    layer = linear([[2.0]])
    job = train_state(layer, optimizer=torch.optim.LBFGS(layer.parameters()))
    loss, output = train_step(job, torch.tensor([[3.0]]), torch.tensor([[0.0]]))
    assert layer.weight.item() == pytest.approx(0.0, abs=1e-6)
    assert loss.item() == 36.0
    assert output.tolist() == [[6.0]]  # as it was before the step, like the loss


def test_bf16_is_for_the_forward_pass_alone() -> None:
    layer = linear([[1.0]])
    job = train_state(layer, autocast=lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    loss, output = train_step(
        job, torch.tensor([[1.00390625]]), torch.tensor([[0.0]])
    )  # 1 + 2 ** -8: 1 in bf16
    assert output.item() == 1.0
    assert (loss.dtype, layer.weight.dtype) == (torch.float32, torch.float32)
    assert layer.weight.item() == 0.75


def half_precision(layer: nn.Linear, **changes: Any) -> TrainState:
    return train_state(
        layer,
        autocast=lambda: torch.autocast("cpu", dtype=torch.float16),
        scaler=torch.amp.GradScaler("cpu"),
        **changes,
    )


@pytest.mark.parametrize("compile_it", [False, True])
def test_small_gradients_survive_fp16(compile_it: bool) -> None:
    layer = linear([[1.0]])
    optimizer = torch.optim.SGD(layer.parameters(), lr=2.0**20)
    job = half_precision(layer, optimizer=optimizer, compile=compile_it)
    if compile_it:
        job.compiled = job.passes  # what is compiled
    train_step(job, torch.tensor([[2.0**-13]]), torch.tensor([[0.0]]))
    # The gradient, 2 ** -25, is 0 in fp16
    assert layer.weight.item() == 1 - 2.0**-5


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_step_whose_gradients_overflow_is_left_out(clip_norm: float | None) -> None:
    layer = linear([[1.0]])
    job = half_precision(layer, clip_norm=clip_norm)
    one, zero = torch.tensor([[1.0]]), torch.tensor([[0.0]])
    for _ in range(2):  # 2 x 65,536 and 2 x 32,768 are more than fp16 has
        train_step(job, one, zero)
        assert layer.weight.item() == 1.0
    assert job.updater.scaler is not None
    assert job.updater.scaler.get_scale() == 65536 / 4
    train_step(job, one, zero)
    gradient = 2 if clip_norm is None else clip_norm
    assert layer.weight.item() == pytest.approx(1 - 0.125 * gradient)


def test_a_schedule_by_batches_says_nothing_of_a_first_step_that_is_left_out() -> None:
    layer = linear([[1.0]])
    optimizer = SGD(layer.parameters(), lr=0.125)
    scheduler = CosineAnnealingLR(optimizer, 4)
    job = half_precision(layer, optimizer=optimizer, scheduler=scheduler, interval="step")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_step(job, torch.tensor([[1.0]]), torch.tensor([[0.0]]))
    assert layer.weight.item() == 1.0


def test_fp16_adds_up_the_gradients_of_several_batches() -> None:
    layer = linear([[1.0]])
    job = half_precision(layer, accumulate=2, optimizer=torch.optim.SGD(layer.parameters(), lr=2.0))
    assert job.updater.scaler is not None
    job.updater.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    train_epoch(job, [(torch.tensor([[x]]), torch.tensor([[0.0]])) for x in (0.5, 0.25)])
    # The gradients are 2 x 0.25 and 2 x 0.0625
    assert layer.weight.item() == pytest.approx(1 - 2 * (0.5 + 0.125) / 2)


class Partly(nn.Module):
    """A network with a frozen layer, one that is not used, and Python that cannot be compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.unused = nn.Linear(6, 5), nn.Linear(5, 3), nn.Linear(2, 2)
        self.first.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        torch._dynamo.graph_break()
        output: Tensor = self.last(x)
        return output


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute"
)  # of PyTorch's own look at it, which it hides
@pytest.mark.parametrize(
    ("make", "backend"),
    [
        pytest.param(lambda: MLP(6, 3, 5), "aot_eager", id="one graph, traced"),
        pytest.param(lambda: MLP(6, 3, 5), "inductor", id="one graph", marks=pytest.mark.full),
        pytest.param(Partly, "inductor", id="a graph that breaks", marks=pytest.mark.full),
    ],
)
def test_compiled_steps_follow_the_eager_ones(
    make: Callable[[], nn.Module], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default the graphs are traced alone: the C++ compiler takes half a minute."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch.manual_seed(0)
    batches = [(torch.randn(8, 6), torch.arange(8) % 3) for _ in range(5)]
    eager = make()
    compiled = copy.deepcopy(eager)
    jobs = [
        train_state(
            model,
            nn.CrossEntropyLoss(),
            kind=CLASSIFICATION,
            compile=model is compiled,
            clip_norm=1.0,
        )
        for model in (eager, compiled)
    ]
    sums = [train_epoch(job, batches).metrics for job in jobs]
    assert sums[1] == pytest.approx(sums[0], abs=1e-6)
    for (name, mine), its in zip(
        compiled.state_dict().items(), eager.state_dict().values(), strict=True
    ):
        assert torch.allclose(mine, its, atol=1e-6), name
    assert [p.grad is None for p in compiled.parameters()] == [
        p.grad is None for p in eager.parameters()
    ]


# --- Losses over several steps ----------------------------------------------------------------------------------------


def learn(
    loss: nn.Module, targets: Callable[[Tensor], Tensor], kind: str = CLASSIFICATION
) -> tuple[list[float], MLP]:
    """The loss of each of 12 steps of a small MLP on the same 64 examples of 4 classes, and the network."""
    torch.manual_seed(0)
    inputs, classes = torch.randn(64, 8), torch.randint(4, (64,))
    model = MLP(8, 4, [16, 8], dropout=0.25)
    job = train_state(model, loss, kind=kind, optimizer=Adam(model.parameters(), lr=0.01))
    batches = list(zip(inputs.split(16), targets(classes).split(16), strict=True))
    return [train_step(job, x, y)[0].item() for _ in range(3) for x, y in batches], model


def test_nll_gives_the_numbers_of_cross_entropy() -> None:
    nll, _ = learn(NLLLoss(), lambda classes: classes)
    cross_entropy, _ = learn(nn.CrossEntropyLoss(), lambda classes: classes)
    assert nll == pytest.approx(cross_entropy, abs=1e-6)
    assert cross_entropy[-1] < cross_entropy[0]


def test_mse_on_classes_gives_the_numbers_of_mse_against_one_hot_targets() -> None:
    classes, trained = learn(MSELoss(), lambda classes: classes)
    one_hots, reference = learn(
        nn.MSELoss(), lambda classes: one_hot(classes, 4).float(), kind=REGRESSION
    )
    assert classes == one_hots
    assert all(
        torch.equal(a, b) for a, b in zip(trained.parameters(), reference.parameters(), strict=True)
    )


def test_the_same_seed_gives_the_same_bits() -> None:
    (first, model), (second, again) = (
        learn(nn.CrossEntropyLoss(), lambda classes: classes) for _ in range(2)
    )
    assert first == second
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )


# --- Evaluation -------------------------------------------------------------------------------------------------------


def test_accuracy_is_counted_over_uneven_batches() -> None:
    eye = linear(torch.eye(3).tolist())
    right = [1, 1, 1, 1, 1, 1, 0, 1, 0]  # 4 of 4, 3 of 4, 0 of 1: their mean is 7 / 12
    said = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])
    truth = torch.tensor(
        [c if r else (c + 1) % 3 for c, r in zip(said.tolist(), right, strict=True)]
    )
    batches = list(zip(one_hot(said, 3).float().split(4), truth.split(4), strict=True))
    assert [len(targets) for _, targets in batches] == [4, 4, 1]
    assert (
        evaluate(train_state(eye, nn.CrossEntropyLoss(), kind=CLASSIFICATION), batches)["accuracy"]
        == 7 / 9
    )


def test_loss_and_mae_are_means_over_examples() -> None:
    inputs, targets = torch.tensor([[1.0], [2.0], [6.0]]), torch.zeros(3, 1)
    batches = list(zip(inputs.split(2), targets.split(2), strict=True))
    assert evaluate(train_state(linear([[1.0]])), batches) == {
        "loss": 41 / 3,
        "mae": 3.0,
    }  # (1 + 4 + 36) / 3, (1 + 2 + 6) / 3


def test_evaluation_has_no_gradients_and_is_in_eval_mode() -> None:
    layer = linear([[1.0]])
    seen: list[tuple[bool, bool]] = []
    layer.register_forward_hook(
        lambda module, *_: seen.append((module.training, torch.is_grad_enabled()))
    )
    evaluate(train_state(layer), ONE)
    assert seen == [(False, False)]
    assert layer.weight.grad is None
    assert torch.is_grad_enabled()


def test_evaluation_leaves_batch_norm_and_weights_alone_and_drops_nothing_out() -> None:
    model = nn.Sequential(linear([[1.0]]), nn.BatchNorm1d(1, eps=1e-12), nn.Dropout(0.9))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = torch.tensor([[5.0], [7.0]])
    assert evaluate(train_state(model), [(inputs, torch.zeros(2, 1))]) == {
        "loss": 37.0,
        "mae": 6.0,
    }  # mean 0, variance 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_training_uses_batch_norm_and_dropout_again_after_an_evaluation() -> None:
    model = nn.Sequential(linear([[1.0]]), nn.BatchNorm1d(1), nn.Dropout(0.5))
    job = train_state(model)
    evaluate(job, ONE)
    train_epoch(job, [(torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1))])
    assert model.training
    assert model.state_dict()["1.running_mean"].item() == pytest.approx(0.2)  # 0.9 * 0 + 0.1 * 2


class Largest:
    """A further metric, as torchmetrics has it: the largest output of all batches."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.value = math.nan

    def update(self, output: Tensor, target: Tensor) -> None:
        self.calls.append(f"update {len(target)}")
        self.value = max(self.value, output.max().item())

    def compute(self) -> Tensor:
        self.calls.append("compute")
        return torch.tensor(self.value)

    def reset(self) -> None:
        self.calls.append("reset")
        self.value = -math.inf


def test_further_metrics_are_reset_updated_with_every_batch_and_computed() -> None:
    largest = Largest()
    job = train_state(linear([[2.0]]), metrics={"largest": largest})
    inputs = torch.tensor([[1.0], [4.0], [3.0]])
    found = evaluate(job, list(zip(inputs.split(2), torch.zeros(3, 1).split(2), strict=True)))
    assert list(found) == ["loss", "mae", "largest"]
    assert found["largest"] == 8.0
    assert largest.calls == ["reset", "update 2", "update 1", "compute"]
    assert evaluate(job, ONE)["largest"] == 2.0


# --- Epochs -----------------------------------------------------------------------------------------------------------


def test_an_epoch_by_hand() -> None:
    # w = 2: loss 4, slope 4, so w = 1.5: loss 2.25, slope 3, so w = 1.125: validated with 1.265625
    job = train_state(linear([[2.0]]), metrics={"largest": Largest()})
    (result,) = run(job, ONE * 2, ONE, 1)
    assert result.metrics == {
        "train/loss": 3.125,
        "train/mae": 1.75,
        "train/lr": 0.125,
        "valid/loss": 1.265625,
        "valid/mae": 1.125,
        "valid/largest": 1.125,
    }
    assert (result.epoch, result.examples) == (1, 2)
    assert 0 < result.train_seconds <= result.seconds


def test_each_epoch_asks_for_its_own_batches() -> None:
    asked: list[int] = []

    def train(epoch: int) -> Iterable[Batch]:
        asked.append(epoch)
        return ONE

    job = train_state(linear([[1.0]]))
    assert [result.epoch for result in islice(epochs(job, train, lambda: ONE, first=4), 3)] == [
        4,
        5,
        6,
    ]
    assert asked == [4, 5, 6]


def test_an_epoch_is_trained_when_it_is_asked_for() -> None:
    layer = linear([[2.0]])
    results = epochs(train_state(layer), lambda _: ONE, lambda: ONE)
    assert layer.weight.item() == 2.0
    next(results)
    assert layer.weight.item() == 1.5
    next(results)
    assert layer.weight.item() == 1.125


# --- Schedulers -------------------------------------------------------------------------------------------------------


def scheduled(make: Callable[[SGD], LRScheduler], **changes: Any) -> TrainState:
    layer = linear([[1.0]])
    optimizer = SGD(layer.parameters(), lr=0.5)
    return train_state(layer, optimizer=optimizer, scheduler=make(optimizer), **changes)


def one_cycle(optimizer: SGD) -> LRScheduler:
    return OneCycleLR(optimizer, max_lr=0.5, total_steps=100)


def cosine(optimizer: SGD) -> LRScheduler:
    return CosineAnnealingLR(optimizer, T_max=4)


@pytest.mark.parametrize(
    ("make", "interval", "steps"),
    [(one_cycle, "auto", 6), (cosine, "auto", 2), (one_cycle, "epoch", 2), (cosine, "step", 6)],
)
def test_a_scheduler_steps_when_its_class_needs_it_or_when_told(
    make: Callable[[SGD], LRScheduler], interval: str, steps: int
) -> None:
    job = scheduled(make, interval=interval)
    run(job, ONE * 3, ONE, 2)  # two epochs of three batches
    assert job.updater.scheduler.last_epoch == steps


def test_the_cosine_is_at_half_after_half_of_the_epochs() -> None:
    job = scheduled(cosine)
    rates = []
    for _ in range(4):
        run(job, ONE * 3, ONE, 1)
        rates.append(job.updater.optimizer.param_groups[0]["lr"])
    # 0.5 * (1 + cos(pi * epoch / 4)) / 2
    assert rates == pytest.approx([0.4267767, 0.25, 0.0732233, 0.0], abs=1e-7)


def plateau(monitor: str) -> TrainState:
    layer = linear([[1.0]])
    optimizer = SGD(layer.parameters(), lr=0.5)
    return train_state(
        layer,
        optimizer=optimizer,
        monitor=monitor,
        scheduler=ReduceLROnPlateau(optimizer, "min", 0.5, 0),
    )


@pytest.mark.parametrize(
    ("monitor", "rates"), [("valid/loss", [0.5, 0.5, 0.5]), ("valid/mae", [0.5, 0.25, 0.125])]
)
def test_a_plateau_is_one_of_the_monitored_metric(monitor: str, rates: list[float]) -> None:
    job, found = plateau(monitor), []
    for loss in (3.0, 2.0, 1.0):
        job.updater.end_epoch({"valid/loss": loss, "valid/mae": 1.0}[monitor])
        found.append(job.updater.optimizer.param_groups[0]["lr"])
    assert found == rates


def test_a_plateau_is_told_what_the_epoch_yields() -> None:
    job = plateau("valid/mae")
    assert isinstance(job.updater.scheduler, ReduceLROnPlateau)
    results = run(job, ONE, ONE, 2)
    assert job.updater.scheduler.best == min(result.metrics["valid/mae"] for result in results)
    assert job.updater.scheduler.last_epoch == 2


# --- Accumulated gradients, averaged weights --------------------------------------------------------------------------


def accumulated(loss: nn.Module, size: int, together: int) -> list[float]:
    """Train on 24 examples of 3 classes; return the weights and the mean loss of the epoch."""
    generator = torch.Generator().manual_seed(0)
    layer = linear(torch.randn(3, 4, generator=generator).tolist())
    inputs = torch.randn(24, 4, generator=generator)
    targets = torch.randint(3, (24,), generator=generator)
    batches = list(zip(inputs.split(size), targets.split(size), strict=True))
    job = train_state(layer, loss, kind=CLASSIFICATION, accumulate=together, clip_norm=0.1)
    means = train_epoch(job, batches).metrics
    return [*layer.weight.flatten().tolist(), means["loss"]]


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(reduction="sum"),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0])),
        nn.CrossEntropyLoss(label_smoothing=0.1),
    ],
)
def test_accumulated_gradients_are_those_of_one_large_batch(loss: nn.Module) -> None:
    assert accumulated(loss, 4, 3) == pytest.approx(accumulated(loss, 12, 1), rel=1e-6)
    assert accumulated(loss, 4, 1) != pytest.approx(accumulated(loss, 12, 1), abs=1e-3)


@pytest.mark.full
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_step_accumulates_the_same() -> None:
    plain, compiled = train_state(linear([[1.0]])), train_state(linear([[1.0]]))
    for job in (plain, compiled):
        job.accumulate, job.compile = 2, job is compiled
        train_epoch(job, [*ONE, (torch.tensor([[2.0]]), torch.tensor([[0.0]]))])
    assert compiled.model.weight.item() == pytest.approx(plain.model.weight.item(), abs=1e-6)
    assert plain.model.weight.item() != 1.0


def test_the_average_is_evaluated_and_the_weights_are_trained() -> None:
    layer = linear([[1.0]])
    averaged = AveragedModel(layer, multi_avg_fn=get_ema_multi_avg_fn(0.75))
    job = train_state(layer, averaged=averaged)
    inputs, targets = (
        torch.tensor([[1.0]]),
        torch.tensor([[0.0]]),
    )  # the loss is the weight's square
    weights = []
    for _ in range(3):
        train_step(job, inputs, targets)
        weights.append(layer.weight.item())
    assert weights == pytest.approx([0.75, 0.5625, 0.421875])  # times 1 - 2 * 0.125
    # The first, then 3/4 of it and 1/4 of the next, and so on
    average = 0.75 * (0.75 * 0.75 + 0.25 * 0.5625) + 0.25 * 0.421875
    assert averaged.module.weight.item() == pytest.approx(average)
    assert evaluate(job, [(inputs, targets)])["loss"] == pytest.approx(average**2)
    assert job.evaluated is averaged.module
