"""Many small runs trained as one: the bits that each has alone, and what becomes of the others when one fails."""

from __future__ import annotations

import copy
import logging
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import own
import pytest
import ready
import tiny
import torch
from conftest import PROJECT, Command
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR
from waiting import until

from sweeplab import config
from sweeplab.commands import cli
from sweeplab.errors import RunFailed
from sweeplab.metrics import CLASSIFICATION, REGRESSION, EpochResult
from sweeplab.models import MLP, MSELoss, NLLLoss
from sweeplab.runs.fused import train_fused
from sweeplab.runs.job import Job, prepare
from sweeplab.runs.run import train as train_run
from sweeplab.runs.training import Training
from sweeplab.speed import onednn
from sweeplab.speed.tape import Tape
from sweeplab.store import Event, Result, Run, Store
from sweeplab.train import fused
from sweeplab.train.fused import Member, network_can_be_fused
from sweeplab.train.loop import Trained, train_epoch
from sweeplab.train.random_state import RandomStreams, seed_stream
from sweeplab.train.train_state import Batch, TrainState

WIDE = 784  # 784 x 64 weights are enough for oneDNN, where that is quicker


def train_state(
    model: nn.Module,
    lr: float,
    *,
    cycle: bool = False,
    adam: bool = True,
    clip: float | None = None,
) -> TrainState:
    optimizer = Adam(model.parameters(), lr, fused=True) if adam else SGD(model.parameters(), lr)
    scheduler = (
        OneCycleLR(optimizer, lr, total_steps=100) if cycle else LambdaLR(optimizer, lambda _: 1.0)
    )
    return tiny.train_state(
        model,
        NLLLoss(),
        optimizer=optimizer,
        scheduler=scheduler,
        kind=CLASSIFICATION,
        clip_norm=clip,
    )


def batches(count: int = 5) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(32, WIDE, generator=generator), torch.randint(10, (32,), generator=generator))
        for _ in range(count)
    ]


def results(train_states: list[TrainState], trained: Sequence[Trained | Exception]) -> list[Any]:
    states = [
        train_state.model.state_dict()
        | {"adam": train_state.updater.optimizer.state_dict()["state"]}
        for train_state in train_states
    ]
    return [
        (
            {
                name: value.tolist() if isinstance(value, torch.Tensor) else str(value)
                for name, value in state.items()
            },
            one.metrics,
            one.examples,
        )
        for state, one in zip(states, trained, strict=True)
        if isinstance(one, Trained)
    ]


def train(train_states: Sequence[TrainState], given: Sequence[Batch]) -> list[Trained | Exception]:
    """Train an epoch of all of them as one."""
    return fused.train_epoch(
        train_states, [given for _ in train_states], [RandomStreams() for _ in train_states]
    )


@pytest.mark.few(4)
@pytest.mark.parametrize(
    "make",
    [
        lambda: MLP(WIDE, 10, 64),
        lambda: MLP(WIDE, 10, [48, 24], activation="tanh"),
        lambda: MLP(WIDE, 10, [32, 16, 8], batch_norm=False, activation="gelu"),
        lambda: nn.Linear(WIDE, 10),
        lambda: nn.Linear(WIDE, 10, bias=False),
    ],
    ids=["64", "48-24", "32-16-8", "linear", "no bias"],
)
@pytest.mark.parametrize("quick", [False, True], ids=["MKL", "oneDNN"])
def test_as_one_they_have_the_bits_that_they_have_alone(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], nn.Module], quick: bool
) -> None:
    monkeypatch.setattr(fused, "LONG", 2)
    replays: list[list[float]] = []
    replay = Tape.replay

    def kept(*its: Any) -> Any:
        losses, outputs = replay(*its)
        replays.append([float(loss) for loss in losses])
        return losses, outputs

    monkeypatch.setattr(Tape, "replay", kept)
    torch.manual_seed(0)
    model = make()
    if quick and torch.backends.mkldnn.is_available():
        onednn.use(model)

    def four() -> list[TrainState]:
        models = [copy.deepcopy(model) for _ in range(4)]
        return [
            train_state(models[0], 0.001),
            train_state(models[1], 0.1, clip=0.5),
            train_state(models[2], 0.01, adam=False),
            train_state(models[3], 0.01, cycle=True),
        ]

    one, other = four(), four()
    for _ in range(2):
        its = [train_epoch(each, batches(7)) for each in other]
        assert results(one, train(one, batches(7))) == results(other, its)
    assert [len(losses) for losses in replays] == [4] * 12, "all but the first step of each epoch"
    for each in one:
        for tensor in each.model.state_dict().values():
            assert tensor.untyped_storage().nbytes() == tensor.nbytes, (
                "a checkpoint would hold those of all"
            )


def test_where_the_arithmetic_is_exact_they_are_trained_as_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = MLP(WIDE, 10, 64, batch_norm=False)
    for parameter in model.parameters():
        parameter.data = torch.randint(
            -2, 3, parameter.shape, generator=torch.Generator().manual_seed(0)
        ).float()
    train_states = [train_state(copy.deepcopy(model), lr) for lr in (0.1, 0.01)]
    inputs = torch.randint(0, 3, (64, WIDE), generator=torch.Generator().manual_seed(1)).float()
    one = [(inputs, torch.full((64,), 3))]  # 64 times 64 numbers: no proof on random inputs
    caplog.set_level(logging.INFO, logger="sweeplab.train.fused")
    trained = train(train_states, one)
    assert not caplog.messages
    assert isinstance(trained[0], Trained)
    assert isinstance(trained[1], Trained)
    assert trained[0].metrics == trained[1].metrics
    assert trained[0].seconds == trained[1].seconds


def test_without_proof_they_are_trained_one_by_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    model = MLP(WIDE, 10, 16)
    one, other = ([train_state(copy.deepcopy(model), lr) for lr in (0.1, 0.01)] for _ in range(2))
    its = [train_epoch(each, batches()) for each in other]
    monkeypatch.setattr(fused, "same_bits", lambda *_: False)
    caplog.set_level(logging.INFO, logger="sweeplab.train.fused")
    mine = train(one, batches())
    assert caplog.messages == [
        "2 runs are trained one by one: as one they would have other bits than alone, or draw random numbers"
    ]
    assert results(one, mine) == results(other, its)


def test_runs_at_other_epochs_see_other_batches() -> None:
    seen: list[tuple[str, int]] = []

    def member(name: str, first: int) -> Member:
        def its(epoch: int) -> list[Batch]:
            seen.append((name, epoch))
            return batches(epoch)

        return Member(
            state=train_state(MLP(WIDE, 10, 16), 0.1), train=its, valid=batches, epoch=first
        )

    members = [member("a", 1), member("b", 3), member("c", 2)]
    results = []
    for one, result in fused.epochs(members):
        assert isinstance(result, EpochResult)
        results.append((members.index(one), result.epoch, result.examples))
        one.done = result.epoch == 3
    assert seen == [("a", 1), ("a", 2), ("c", 2), ("a", 3), ("b", 3), ("c", 3)]
    assert results == [(0, 1, 32), (0, 2, 64), (2, 2, 64), (0, 3, 96), (1, 3, 96), (2, 3, 96)]


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("size", "hidden"), [(1, [13, 7]), (3, [13, 7]), (8, [16, 8]), (16, [64, 32])]
)
def test_small_batches_have_the_bits_that_they_have_alone(size: int, hidden: list[int]) -> None:
    generator = torch.Generator().manual_seed(3)
    # 16 grey levels, many of them 0, as in digits: the first step as one agrees by chance with that alone
    given = [
        (
            torch.randint(-9, 17, (size, 64), generator=generator).clamp(0) / 16,
            torch.randint(10, (size,)),
        )
        for _ in range(60)
    ]
    torch.manual_seed(0)
    model = MLP(64, 10, hidden, batch_norm=False)
    if torch.backends.mkldnn.is_available():
        onednn.use(model)
    one, other = (
        [train_state(copy.deepcopy(model), lr) for lr in (0.001, 0.01, 0.1)] for _ in range(2)
    )
    for start in range(0, 60, 6):
        part = given[start : start + 6]
        its = [train_epoch(each, part) for each in other]
        assert results(one, train(one, part)) == results(other, its)


def test_outputs_of_one_column_can_be_compared() -> None:
    torch.manual_seed(0)
    model = MLP(10, 1, [16, 8])
    one, other = ([train_state(copy.deepcopy(model), lr) for lr in (0.1, 0.01)] for _ in range(2))
    for each in (*one, *other):
        each.loss, each.kind = MSELoss(), REGRESSION
    given = [(torch.randn(32, 10), torch.randn(32, 1)) for _ in range(3)]
    its = [train_epoch(each, given) for each in other]
    assert results(one, train(one, given)) == results(other, its)


def test_the_same_bits_are_told_from_equal_ones() -> None:
    nan, zero = torch.tensor(float("nan")), torch.tensor(0.0)
    assert fused.same_bits(nan, nan.clone())
    assert not fused.same_bits(zero, -zero)
    assert fused.same_bits(None, None)
    assert not fused.same_bits(zero, None)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model=mlp"], True),
        (["model=linear"], True),
        (["model=mlp", "model.dropout=0.1"], False),
        (["model=mlp", "model.activation=prelu"], False),
        (["model=cnn"], False),
    ],
)
def test_which_networks_can_be_computed_as_one(overrides: list[str], expected: bool) -> None:
    assert (
        network_can_be_fused(config.compose(["data=digits", "tracking=off", *overrides]).model)
        is expected
    )


# --- Random numbers ---------------------------------------------------------------------------------------------------


def drawing(model: nn.Module, how: str, lr: float) -> Member:
    """A run whose loss, metric or batches draw random numbers."""
    mine = train_state(model, lr)
    if how == "loss":
        mine.loss = own.NoisyLoss()
    if how == "metric":
        mine.metrics = {"share": own.NoisyShare()}

    def given() -> Iterator[Batch]:
        for inputs, targets in batches():
            yield inputs + (own.noise() if how == "batches" else 0.0), targets

    def trained(_: int) -> Iterator[Batch]:
        return given() if how == "batches" else iter(batches())

    seed_stream(0, "dropout")
    return Member(state=mine, train=trained, valid=batches)


def two_epochs(members: Sequence[Member]) -> list[list[Any]]:
    """What comes of two epochs of each of them, which draws a number after each."""
    found: dict[Member, list[Any]] = {member: [] for member in members}
    for member, result in fused.epochs(members):
        assert isinstance(result, EpochResult)
        with member.streams:
            found[member] += [result.metrics, own.noise()]
        member.done = result.epoch == 2
    weights = [member.state.model.state_dict() for member in members]
    return [
        [*found[m], {k: v.tolist() for k, v in w.items()}]
        for m, w in zip(members, weights, strict=True)
    ]


@pytest.mark.parametrize("how", ["nothing", "loss", "metric", "batches"])
def test_each_has_random_streams_of_its_own(how: str) -> None:
    torch.manual_seed(0)
    model = MLP(WIDE, 10, 16)
    one, other = (
        [drawing(copy.deepcopy(model), how, lr) for lr in (0.1, 0.01, 0.001)] for _ in range(2)
    )
    alone = [two_epochs([member])[0] for member in other]
    assert two_epochs(one) == alone


def test_a_loss_that_is_seen_to_draw_is_computed_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fused, "loss_can_be_shared", lambda _: True)  # whose class does not tell
    caplog.set_level(logging.INFO, logger="sweeplab.train.fused")
    test_each_has_random_streams_of_its_own("loss")
    assert (
        caplog.messages
        == [
            "3 runs are trained one by one: as one they would have other bits than alone, or draw random numbers"
        ]
        * 2
    )


@pytest.mark.parametrize("draw", [lambda: torch.rand(1), random.random, lambda: np.random.rand()])
def test_a_trial_leaves_the_random_streams_where_they_were(draw: Callable[[], object]) -> None:
    class Loss(NLLLoss):
        def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:  # noqa: A002
            draw()
            return super().forward(input, target)

    train_states = [train_state(MLP(WIDE, 10, 16), lr) for lr in (0.1, 0.01)]
    for each in train_states:
        each.loss = Loss()
    before = RandomStreams()
    assert not fused._is_exact(train_states, False, *batches(1)[0])
    assert not before.moved()
    draw()
    assert before.moved()


def test_what_draws_later_in_an_epoch_does_not_pass_for_what_it_would_be_alone() -> None:
    train_states = [train_state(MLP(WIDE, 10, 16), lr, cycle=True) for lr in (0.1, 0.01)]
    train_states[0].updater.optimizer.register_step_post_hook(lambda *_: own.noise())
    with pytest.raises(RuntimeError, match=r"give sweep\.fuse=false$"):
        train(train_states, batches())


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (nn.CrossEntropyLoss, True),
        (nn.MSELoss, True),
        (NLLLoss, True),
        (MSELoss, True),
        (own.NoisyLoss, False),
        (nn.Linear, False),
        (nn.AdaptiveLogSoftmaxWithLoss, False),
    ],
)
def test_which_losses_can_be_computed_beside_others(loss: type, expected: bool) -> None:
    assert fused.loss_can_be_shared(loss) is expected


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [True, False])
def test_an_error_of_ones_scheduler_ends_only_that_run(
    monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    if not together:
        monkeypatch.setattr(fused, "same_bits", lambda *_: False)
    torch.manual_seed(0)
    model = MLP(WIDE, 10, 64)
    one, other = (
        [train_state(copy.deepcopy(model), lr) for lr in (0.1, 0.01, 0.001)] for _ in range(2)
    )
    one[1].updater.scheduler = OneCycleLR(one[1].updater.optimizer, 0.1, total_steps=3)
    trained = train(one, batches())
    assert [type(each) for each in trained] == [Trained, ValueError, Trained]
    its = [train_epoch(each, batches()) for each in other]
    assert results(one[::2], trained[::2]) == results(other[::2], its[::2])


def test_an_error_of_ones_validation_ends_only_that_run() -> None:
    broken = ValueError("no")

    def invalid() -> list[Batch]:
        raise broken

    members = [
        Member(state=train_state(nn.Linear(WIDE, 10), 0.1), train=lambda _: batches(1), valid=valid)
        for valid in (batches, invalid, batches)
    ]
    ended: list[tuple[int, int | Exception]] = []
    for member, result in fused.epochs(members):
        ended.append(
            (members.index(member), result if isinstance(result, Exception) else result.epoch)
        )
        member.done = isinstance(result, Exception) or result.epoch == 2
    assert ended == [(0, 1), (1, broken), (2, 1), (0, 2), (2, 2)]


class Stopped:
    """What a training raises after an epoch, of one run or of all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
        self.error, self._take = error, Training.take
        monkeypatch.setattr(Training, "take", lambda training, result: self.take(training, result))

    def take(self, training: Training, result: EpochResult) -> bool:
        if training.job.config.optimizer["lr"] == 0.003 and result.epoch == 2:
            raise self.error
        return self._take(training, result)


def ends(home: Store) -> list[tuple[float, str, int]]:
    """The learning rate, the status and the number of epochs of each run."""
    return sorted(
        (run.config()["optimizer"]["lr"], run.status, len(run.epochs())) for run in home.runs()
    )


def test_an_error_of_one_is_recorded_by_it_and_the_others_go_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Stopped(monkeypatch, ValueError("no"))
    home = Store(root / "runs").open()
    first, second, third = train_fused(jobs("runs"), home)
    assert isinstance(second, RunFailed)
    assert "failed: ValueError: no" in str(second)
    assert isinstance(first, Result)
    assert isinstance(third, Result)
    assert ends(home) == [(0.001, "finished", 3), (0.003, "failed", 1), (0.01, "finished", 3)]


def test_an_interrupt_of_one_ends_all_and_each_records_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = KeyboardInterrupt()
    Stopped(monkeypatch, stop)
    home = Store(root / "runs").open()
    assert train_fused(jobs("runs"), home) == [stop, stop, stop]
    assert [status for _, status, _ in ends(home)] == ["interrupted"] * 3
    assert [events(run)[-1] for run in home.runs()] == [Event.END] * 3


def test_an_error_of_what_is_computed_for_all_is_everybodys(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("none left")

    monkeypatch.setattr(fused, "train_epoch", broken)
    home = Store(root / "runs").open()
    ended = train_fused(jobs("runs"), home)
    assert all(
        isinstance(each, RunFailed) and "had to stop: MemoryError: none left" in str(each)
        for each in ended
    )
    assert [status for _, status, _ in ends(home)] == ["interrupted"] * 3


def events(run: Run) -> list[str]:
    return [event["event"] for event in run.journal.events()]


# --- In sweeps --------------------------------------------------------------------------------------------------------

RATES = "optimizer.lr=0.0003,0.001,0.003,0.01"
SWEEP = (
    "-m",
    "hydra/launcher=sweeplab",
    "data=digits",
    "model.hidden=16",
    "sweep.workers=1",
    "sweep.report=false",
    RATES,
)


def outcomes(root: Path) -> dict[str, tuple[str | None, list[Any], dict[str, float]]]:
    """Fingerprint -> what came out, but the seconds."""
    found = {}
    for run in Store(root / "runs").runs():
        result = run.result()
        assert result is not None
        values = {name: value for name, value in result.metrics.items() if "second" not in name}
        found[result.fingerprint] = (result.weights_sha256, list(run.epochs().items()), values)
    return found


def together(root: Path) -> list[int | None]:
    """How many were trained as one with each run."""
    starts = [
        event
        for run in Store(root / "runs").runs()
        for event in run.journal.events()
        if event["event"] == Event.START
    ]
    return [start["provenance"].get("fused") for start in starts]


def test_of_a_fused_sweep_only_the_run_fails_that_would_alone(root: Path, train: Command) -> None:
    overflows = (
        "scheduler._target_=torch.optim.lr_scheduler.PolynomialLR",
        "+scheduler.power=1,-30000",
    )
    how = (
        "scheduler=constant",
        "~scheduler.factor",
        "scheduler.total_iters=50",
        "trainer.scheduler_interval=step",
    )
    ended = train(*SWEEP, "trainer.epochs=2", *how, *overflows)
    assert ended.code == 1
    statuses = [
        (run.config()["scheduler"]["power"], run.status) for run in Store(root / "runs").runs()
    ]
    assert sorted(statuses) == [(-30000, "failed")] * 4 + [(1, "finished")] * 4
    assert set(together(root)) == {4}


def test_a_fused_sweep_has_the_results_of_one_that_is_not(root: Path, train: Command) -> None:
    # Patience: they end at different epochs, and the rest goes on.
    how = (*SWEEP, "seed=0,1", "trainer.epochs=12", "trainer.patience=2")
    assert train(*how).code == 0
    one, counts = outcomes(root), together(root)
    assert train(*how, "sweep.fuse=false", "store.root=alone").code == 0
    (root / "runs").rename(root / "fused")
    (root / "alone").rename(root / "runs")
    assert one == outcomes(root)
    assert len({len(epochs) for _, epochs, _ in one.values()}) > 1
    assert (counts, together(root)) == ([4] * 8, [None] * 8)


@pytest.fixture
def at_work(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A sweep of four runs that are trained as one, in its second epoch."""
    words = [
        *SWEEP,
        "sweep.workers=1",
        "trainer.epochs=2000",
        "trainer.patience=null",
        "tracking=off",
        "seed=0,1",
    ]
    process = ready.Popen(
        [sys.executable, str(PROJECT / "train.py"), *words],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until(lambda: sum(len(run.epochs()) > 1 for run in Store(root / "runs").runs()) == 4)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_is_recorded_by_each_of_them(root: Path, at_work: subprocess.Popen[str]) -> None:
    at_work.send_signal(signal.SIGINT)
    out, _ = at_work.communicate(timeout=30)
    assert at_work.returncode == 130, out
    runs = Store(root / "runs").runs()
    assert [run.status for run in runs] == ["interrupted"] * 4
    for run in runs:
        (epoch,) = run.saved_epochs()
        assert max(run.epochs()) - epoch in (0, 1), "it may be cut off before an epoch is kept"
    assert [sum(event["event"] == Event.END for event in run.journal.events()) for run in runs] == [
        1
    ] * 4


def test_each_has_its_own_log(root: Path, train: Command) -> None:
    assert train(*SWEEP, "trainer.epochs=2").code == 0
    for run in Store(root / "runs").runs():
        lines = [line for line in run.log_file.read_text().splitlines() if "epoch   2/2" in line]
        assert len(lines) == 1
        assert f"valid/loss {run.epochs()[2]['valid/loss']:.4f}" in lines[0]


# --- Parts that draw ------------------------------------------------------------------------------------------------------

DRAWING = {
    "loss": ["loss._target_=own.NoisyLoss"],
    "metric": ["+metrics.share._target_=own.NoisyShare"],
    "set": [
        "data.dataset._target_=own.NoisySet",
        "data.memory=0",
        "data.version=1",
        "trainer.batch_size=32",
    ],
}


def replay_all(store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Have each run of a store say that it comes out the same again."""
    for run in Store(store).runs():
        cli.main(["replay", run.id, "--trust", "own", f"store.root={store}", "data.memory=0"])
        assert "identical: " in capfd.readouterr().out


def jobs(store: str, *words: str) -> list[Job]:
    """Three jobs that see the same batches."""
    given = [
        "data=digits",
        "model.hidden=16",
        "trainer.epochs=3",
        "trainer.threads=1",
        "tracking=off",
        *words,
    ]
    rates = ("0.001", "0.003", "0.01")
    return [
        prepare(config.compose([*given, f"store.root={store}", f"optimizer.lr={rate}"]), [])
        for rate in rates
    ]


@pytest.mark.few(1)
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "plateau"])
def test_as_one_each_has_the_rates_and_the_best_epoch_that_it_has_alone(
    root: Path, train: Command, schedule: str
) -> None:
    how = [f"scheduler={schedule}", "trainer.min_delta=0.5"]
    train_fused(jobs("runs", *how), Store(root / "runs").open())
    for each in jobs("alone", *how):
        train_run(each, Store(root / "alone").open())
    one, alone = (
        {run.id: (run.epochs(), run.result()) for run in Store(root / store).runs()}
        for store in ("runs", "alone")
    )
    assert len(one) == 3
    for run_id, (epochs, result) in one.items():
        assert epochs == alone[run_id][0]
        assert 0 <= epochs[3]["train/lr"] <= epochs[1]["train/lr"]
        assert result is not None
        assert result.metrics["best_epoch"] == max(
            epochs, key=lambda n: (epochs[n]["valid/accuracy"], -n)
        )


@pytest.mark.few(1)
@pytest.mark.parametrize("what", DRAWING)
def test_in_one_process_each_draws_the_numbers_that_it_draws_alone(
    root: Path, capfd: pytest.CaptureFixture[str], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        fused, "loss_can_be_shared", lambda _: True
    )  # so that the proof alone has to tell
    for store in ("runs", "alone"):
        home = Store(root / store).open()
        if store == "runs":
            ended = train_fused(jobs(store, *DRAWING[what]), home)
            assert [each.status for each in ended if not isinstance(each, BaseException)] == [
                "finished"
            ] * 3, ended
        else:
            for each in jobs(store, *DRAWING[what]):
                train_run(each, home)
    one = outcomes(root)
    (root / "runs").rename(root / "fused")
    (root / "alone").rename(root / "runs")
    assert one == outcomes(root)
    replay_all(root / "fused", capfd)


@pytest.mark.parametrize(
    "drawing",
    [
        *(pytest.param(words, id=what, marks=pytest.mark.full) for what, words in DRAWING.items()),
        pytest.param(["+metrics.share._target_=own.ModuleShare"], id="generator of a module"),
    ],
)
def test_a_sweep_of_what_draws_has_the_results_of_one_that_is_not_fused(
    root: Path, train: Command, capfd: pytest.CaptureFixture[str], drawing: list[str]
) -> None:
    how = (*SWEEP, *drawing, "trainer.epochs=2")
    assert train(*how).code == 0
    one = outcomes(root)
    assert train(*how, "sweep.fuse=false", "store.root=alone").code == 0
    (root / "runs").rename(root / "fused")
    (root / "alone").rename(root / "runs")
    assert one == outcomes(root)
    assert len(one) == 4
    if "ModuleShare" in drawing[0]:
        return  # in this process its generator has been drawn from, as far as any test has
    replay_all(root / "fused", capfd)
