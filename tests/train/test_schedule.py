"""Learning rate schedules: their units, what a run fills in and records, what is refused, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command
from stored import only
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from sweeplab import data
from sweeplab.config import Config, compose
from sweeplab.errors import UserError
from sweeplab.runs.job import Job, prepare
from sweeplab.runs.training import begin
from sweeplab.store import Store
from sweeplab.train import schedule

HERE = Path(__file__).stem
TORCH = "torch.optim.lr_scheduler"
PLAIN = ("scheduler=constant", "~scheduler.factor", "~scheduler.total_iters")
SHORT = ("data=digits", "trainer.threads=1", "trainer.patience=null")  # ten batches an epoch


def of(name: str, *more: str) -> list[str]:
    """A schedule by its class or function."""
    target = name if "." in name else f"{TORCH}.{name}"
    return [*PLAIN, f"scheduler._target_={target}", *(f"+scheduler.{each}" for each in more)]


def warmed_up(optimizer: Optimizer, epochs: int) -> LRScheduler:
    return SequentialLR(
        optimizer, [LinearLR(optimizer, 0.1, 1.0, 2), CosineAnnealingLR(optimizer, epochs - 2)], [2]
    )


def late(optimizer: Optimizer) -> LRScheduler:
    return SequentialLR(optimizer, [ConstantLR(optimizer, 1.0), StepLR(optimizer, 1)], [9])


def both(optimizer: Optimizer) -> LRScheduler:
    return ChainedScheduler([ConstantLR(optimizer, 0.5, 1), ExponentialLR(optimizer, 0.5)])


def short(optimizer: Optimizer) -> LRScheduler:
    return OneCycleLR(optimizer, 0.01, total_steps=29)


def cycle(optimizer: Optimizer) -> LRScheduler:
    return OneCycleLR(optimizer, 0.5, total_steps=30)


class Falling(PolynomialLR):
    """A class of the user's own."""


def falling(optimizer: Optimizer) -> ReduceLROnPlateau:
    return ReduceLROnPlateau(optimizer, "min")


def whole(optimizer: Optimizer) -> LRScheduler:
    return OneCycleLR(optimizer, 0.01, total_steps=30, anneal_strategy="linear")


def two_groups(params: object, lr: float, **_: object) -> SGD:
    first, *others = list(params)  # type: ignore[call-overload]
    return SGD([{"params": [first]}, {"params": others, "lr": lr / 10}], lr=lr)


GROUPS = ("optimizer=sgd", f"optimizer._target_={HERE}.two_groups")


def planned(*overrides: str) -> Job:
    return prepare(compose([*SHORT, *overrides]), [])


def refused(*overrides: str) -> str:
    with pytest.raises(UserError) as error:
        planned(*overrides)
    return str(error.value)


# --- Units, and the recorded rates ------------------------------------------------------------------------------------


@pytest.mark.few(8)
@pytest.mark.parametrize(
    ("overrides", "rates"),
    [
        (["scheduler=constant"], [0.5, 0.5, 0.5]),
        (["scheduler=cosine"], [0.5, 0.375, 0.125]),
        (["scheduler=cosine", "trainer.scheduler_interval=step"], [0.39695, 0.14832, 0.00136953]),
        (of("CosineAnnealingLR"), [0.5, 0.375, 0.125]),
        (["scheduler=one_cycle", "+scheduler.anneal_strategy=linear"], [0.5 * 20 / 21, 0.5 * 10 / 21, 2e-6]),
        (["scheduler=one_cycle", "trainer.scheduler_interval=epoch", "+scheduler.pct_start=0.5"], [0.02, 0.375, 2e-6]),
        (["scheduler=one_cycle", "scheduler.max_lr=1.0", "+scheduler.anneal_strategy=linear"], [20 / 21, 10 / 21, 4e-6]),
        (of("StepLR", "step_size=1", "gamma=0.5"), [0.5, 0.25, 0.125]),
        ([*of("StepLR", "step_size=10", "gamma=0.5"), "trainer.scheduler_interval=step"], [0.5, 0.25, 0.125]),
        (of("MultiStepLR", "milestones=[1,2]", "gamma=0.1"), [0.5, 0.05, 0.005]),
        (of("ExponentialLR", "gamma=0.5"), [0.5, 0.25, 0.125]),
        (of("LinearLR", "start_factor=0.2", "total_iters=2"), [0.1, 0.3, 0.5]),
        (of("PolynomialLR", "total_iters=2"), [0.5, 0.25, 0.0]),
        (of("CosineAnnealingWarmRestarts", "T_0=2"), [0.5, 0.25, 0.5]),
        (of("CyclicLR", "base_lr=0.1", "max_lr=0.3", "step_size_up=10"), [0.28, 0.12, 0.28]),
        ([*of("CyclicLR", "base_lr=0.1", "max_lr=0.3", "step_size_up=1"), "trainer.scheduler_interval=epoch"], [0.1, 0.3, 0.1]),
        (of(f"{HERE}.warmed_up", "epochs=null"), [0.05, 0.275, 0.5]),
        (of(f"{HERE}.both"), [0.25, 0.25, 0.125]),
        (of(f"{HERE}.whole"), [0.01 * 20 / 21, 0.01 * 10 / 21, 4e-8]),
    ],
)  # fmt: skip
def test_the_rate_of_the_last_batch_of_each_epoch_is_recorded(
    train: Command, root: Path, overrides: list[str], rates: list[float]
) -> None:
    ended = train(
        *SHORT,
        "optimizer=sgd",
        "optimizer.lr=0.5",
        "trainer.epochs=3",
        "model.hidden=8",
        *overrides,
    )
    assert ended.code == 0, ended.err
    (run,) = Store(root / "runs").runs()
    found = [values["train/lr"] for values in run.epochs().values()]
    assert found == pytest.approx(rates, rel=1e-3)


def test_each_parameter_group_has_a_rate_of_its_own(train: Command, root: Path) -> None:
    train(*SHORT, *GROUPS, "trainer.epochs=2", "scheduler=cosine", "model.hidden=8")
    (run,) = Store(root / "runs").runs()
    epochs = run.epochs()
    assert [epochs[2][name] for name in ("train/lr_0", "train/lr_1")] == pytest.approx(
        [0.05, 0.005]
    )
    assert "train/lr" not in epochs[1]


@pytest.mark.parametrize(
    "overrides",
    [[], ["trainer.limit_batches=3"], ["trainer.overfit_batches=2"], ["trainer.batch_size=1319"], ["trainer.overfit_batches=99"]],
)  # fmt: skip
def test_the_batches_of_an_epoch_are_known_before(root: Path, overrides: list[str]) -> None:
    job = prepare(compose([*SHORT, "trainer.progress=false", "tracking=off", *overrides]), [])
    run = Store(root / "runs").open().run(job.fingerprint)
    with run.claim():
        training = begin(job, run, data.load(job.config.data))
    assert schedule.updates_per_epoch(job.config, job.facts.train) == len(training.train)


@pytest.mark.parametrize(
    ("overrides", "interval"),
    [
        (["scheduler=plateau"], "epoch"),
        (["scheduler=one_cycle"], "step"),
        (["scheduler=one_cycle", "trainer.scheduler_interval=epoch"], "epoch"),
        ([*of("StepLR", "step_size=1"), "trainer.scheduler_interval=step"], "step"),
        (of(f"{HERE}.both"), "auto"),
    ],
)
def test_what_a_schedule_counts(overrides: list[str], interval: str) -> None:
    assert compose([*SHORT, *overrides]).interval == interval


def test_auto_and_what_it_stands_for_are_one_run(root: Path) -> None:
    said = planned("trainer.scheduler_interval=epoch")
    assert said.fingerprint == planned().fingerprint
    assert (
        planned("scheduler=one_cycle").fingerprint
        == planned("scheduler=one_cycle", "trainer.scheduler_interval=step").fingerprint
    )


def built(config: Config, in_epoch: int = 10) -> dict[str, object]:
    return {
        key: value
        for key, value in schedule.filled(config, in_epoch).items()
        if key not in ("_target_",)
    }


def test_what_is_null_or_left_out_is_filled_in(root: Path) -> None:
    assert built(compose([*SHORT, "scheduler=plateau"]))["mode"] == "max"
    assert built(compose([*SHORT, *of("ReduceLROnPlateau"), "trainer.monitor=valid/loss"])) == {
        "mode": "min"
    }
    assert built(compose([*SHORT, *of("OneCycleLR", "max_lr=1")])) == {
        "max_lr": 1,
        "epochs": 20,
        "steps_per_epoch": 10,
    }
    assert built(compose([*SHORT, *of("OneCycleLR", "max_lr=1", "total_steps=200")])) == {
        "max_lr": 1,
        "total_steps": 200,
    }
    assert built(compose([*SHORT, *of("StepLR", "step_size=1")])) == {"step_size": 1}
    _, cosine = built(compose([*SHORT, "scheduler=warmup_cosine", "scheduler.milestones=[3]"]))[
        "schedulers"
    ]
    assert cosine["T_max"] == 17, "what the warm-up leaves of 20 epochs"


def test_a_warm_up_and_a_cosine_are_one_schedule(train: Command, root: Path) -> None:
    how = ("scheduler=warmup_cosine", "optimizer.lr=0.01", "trainer.epochs=4")
    train(*SHORT, *how)
    metrics = only(root).epochs().values()
    # 0.1 and 0.55 of it, then half a cosine over two epochs
    assert [epoch["train/lr"] for epoch in metrics] == pytest.approx([0.001, 0.0055, 0.01, 0.005])


# --- Refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.few(6)
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.scheduler_interval=step"], f"trainer.scheduler_interval=step: {TORCH}.ReduceLROnPlateau waits for trainer.monitor, which is measured once an epoch; give epoch, or auto"),
        (["scheduler.mode=min"], f"scheduler.mode=min: valid/accuracy, which {TORCH}.ReduceLROnPlateau waits for, is better the larger it is; give max, or null"),
        (["scheduler.mode=max", "trainer.monitor=valid/loss"], f"scheduler.mode=max: valid/loss, which {TORCH}.ReduceLROnPlateau waits for, is better the smaller it is; give min, or null"),
        (of(f"{HERE}.falling"), f"scheduler.mode=min: valid/accuracy, which {HERE}.falling waits for, is better the larger it is; give max, or null"),
        (of("SequentialLR", "milestones=[2]", f"schedulers=[{{_target_:{TORCH}.LinearLR}}]"), f"scheduler.milestones=[2]: Sequential Schedulers expects number of schedulers provided to be one more than the number of milestone points, but got number of schedulers 1 and the number of milestones to be equal to 1 ({TORCH}.SequentialLR)"),
        (of("SequentialLR", "milestones=[2]", f"schedulers=[{{_target_:{TORCH}.LinearLR,total_iter:2}},{{_target_:{TORCH}.ConstantLR}}]"), f"scheduler.schedulers[0].total_iter=2: {TORCH}.LinearLR has no argument 'total_iter'; did you mean 'total_iters'?"),
        (of("SequentialLR", "milestones=[-2]", f"schedulers=[{{_target_:{TORCH}.LinearLR}},{{_target_:{TORCH}.ConstantLR}}]"), "scheduler.milestones=[-2]: must be whole numbers that rise"),
        (of("SequentialLR", "milestones=[x]", f"schedulers=[{{_target_:{TORCH}.LinearLR}},{{_target_:{TORCH}.ConstantLR}}]"), 'scheduler.milestones=["x"]: must be a list of whole numbers'),
        (of("SequentialLR", "milestones=[]", "schedulers=[3]"), "scheduler.schedulers[0]=3: must be a node with a _target_"),
        (of("SequentialLR", f"schedulers=[{{_target_:{TORCH}.LinearLR}}]"), f"scheduler.milestones: is missing; {TORCH}.SequentialLR needs it: +scheduler.milestones=VALUE"),
        (of("ChainedScheduler", "schedulers=[]"), "scheduler.schedulers=[]: a list of schedules, each with its _target_, is needed"),
        (of("ChainedScheduler", "schedulers=[{gamma:0.5}]"), "scheduler.schedulers[0]._target_: is missing; give the dotted name of a class, such as torch.nn.Linear"),
        (["scheduler=one_cycle", "scheduler.epochs=2"], "scheduler: OneCycleLR is laid out for 20 batches, where the run has 30, and would fail after these; leave out total_steps, epochs and steps_per_epoch, or give null"),
        (["scheduler=one_cycle", "+scheduler.total_steps=29"], "scheduler: OneCycleLR is laid out for 29 batches, where the run has 30, and would fail after these; leave out total_steps, epochs and steps_per_epoch, or give null"),
        (of(f"{HERE}.short"), "scheduler: OneCycleLR is laid out for 29 batches, where the run has 30, and would fail after these; leave out total_steps, epochs and steps_per_epoch, or give null"),
    ],
)  # fmt: skip
def test_a_schedule_that_cannot_do_it_is_refused(
    root: Path, overrides: list[str], message: str
) -> None:
    assert refused("trainer.epochs=3", *overrides) == message


# --- Said -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "notes"),
    [
        ([], []),
        (["scheduler=constant"], []),
        (["scheduler=cosine"], []),
        (["scheduler=one_cycle"], []),
        (["scheduler=one_cycle", "optimizer.lr=0.1"], []),
        (["scheduler=one_cycle", "optimizer=sgd"], ["optimizer.momentum=0.9: has no effect: OneCycleLR moves it between 0.85 and 0.95; scheduler.cycle_momentum=false keeps it"]),
        (["scheduler=one_cycle", "optimizer=sgd", "scheduler.cycle_momentum=false"], []),
        (["scheduler=one_cycle", "+optimizer.betas=[0.8,0.99]"], ["optimizer.betas=[0.8, 0.99]: the first of them has no effect: OneCycleLR moves it between 0.85 and 0.95; scheduler.cycle_momentum=false keeps it"]),
        (["scheduler=one_cycle", "scheduler.max_lr=0.1"], ["optimizer.lr=0.001: has no effect: OneCycleLR goes by scheduler.max_lr=0.1"]),
        (["scheduler=one_cycle", "trainer.time_limit=60"], ["trainer.time_limit=60: may end the run before its OneCycleLR has come down"]),
        (["scheduler=one_cycle", "scheduler.epochs=4"], ["scheduler: OneCycleLR is laid out for 40 batches, where the run has 30: the learning rate does not come down"]),
        (["scheduler=one_cycle", *GROUPS, "~optimizer.momentum"], ["optimizer: the learning rates of its groups (0.1, 0.01) have no effect: OneCycleLR goes by its own"]),
        (["scheduler=cosine", "scheduler.eta_min=0.1"], ["scheduler.eta_min=0.1: is above the learning rate, which goes up to it"]),
        (["scheduler=cosine", "scheduler.T_max=2"], ["scheduler.T_max=2: epochs, where the run has 3: the learning rate goes up again after these; null is the whole run"]),
        (["scheduler=cosine", "scheduler.T_max=31", "trainer.scheduler_interval=step"], ["scheduler.T_max=31: batches, where the run has 30: the learning rate does not come down to eta_min; null is the whole run"]),
        (of("StepLR", "step_size=3"), ["scheduler: StepLR first acts after 3 epochs, where the run has 3: it never does"]),
        (of("MultiStepLR", "milestones=[30]"), ["scheduler: MultiStepLR first acts after 30 epochs, where the run has 3: it never does"]),
        (of("MultiStepLR", "milestones=[2,30]"), []),
        (of("LinearLR"), ["scheduler.total_iters=5: epochs, where the run has 3: LinearLR does not come to its end"]),
        ([*of("LinearLR"), "trainer.scheduler_interval=step"], []),
        (of("PolynomialLR", "total_iters=2"), ["scheduler.total_iters=2: epochs, where the run has 3: the learning rate is 0 after these"]),
        (of("PolynomialLR", "total_iters=3"), []),
        (of("LinearLR", "end_factor=0", "total_iters=2"), ["scheduler.total_iters=2: epochs, where the run has 3: the learning rate is 0 after these"]),
        (of(f"{HERE}.Falling"), ["scheduler.total_iters=5: epochs, where the run has 3: Falling does not come to its end"]),
        (of(f"{HERE}.cycle"), ["optimizer.lr=0.001: may have no effect: OneCycleLR goes up to 0.5 of its own"]),
        ([*of(f"{HERE}.cycle"), "optimizer.lr=0.5"], []),
        (of("CosineAnnealingWarmRestarts", "T_0=4"), ["scheduler.T_0=4: epochs, where the run has 3: CosineAnnealingWarmRestarts does not come to its end"]),
        (of("CyclicLR", "base_lr=0.001", "max_lr=0.1"), ["scheduler.step_size_up=2000: batches, where the run has 30: it does not come up to max_lr"]),
        (of(f"{HERE}.late"), ["scheduler.total_iters=5: epochs, where the run has 3: ConstantLR does not come to its end", "scheduler: StepLR begins after 9 epochs, where the run has 3: it never does"]),
    ],
)  # fmt: skip
def test_what_does_nothing_is_said(root: Path, overrides: list[str], notes: list[str]) -> None:
    assert planned("trainer.epochs=3", *overrides).notes == notes


def test_it_is_said_before_a_run_and_once_for_a_sweep(train: Command, root: Path) -> None:
    note = "optimizer.lr=0.001: has no effect: OneCycleLR goes by scheduler.max_lr=0.1"
    cycle = (*SHORT, "trainer.epochs=1", "scheduler=one_cycle", "scheduler.max_lr=0.1")
    alone = train(*cycle)
    assert alone.out.index(note) < alone.out.index("epoch   1/1")
    assert train("-m", *cycle, "seed=1,2", "sweep.plan=true").out.count(note) == 1
    assert train("-m", *cycle, "seed=1,2").out.count(note) == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["scheduler=one_cycle", "optimizer=sgd", "optimizer.momentum=0.5,0.9"], "optimizer.momentum: is swept, but has no effect: OneCycleLR moves it between 0.85 and 0.95; scheduler.cycle_momentum=false keeps it"),
        (["scheduler=one_cycle", "scheduler.max_lr=0.01", "optimizer.lr=0.01,0.1"], "optimizer.lr: is swept, but has no effect: OneCycleLR goes by scheduler.max_lr=0.01"),
        (["scheduler=one_cycle", "'+optimizer.betas=[0.8,0.99],[0.9,0.99]'"], "optimizer.betas: is swept, but the first of them has no effect: "),
        (["trainer.min_delta=0,0.1"], "trainer.min_delta: is swept, but has no effect: it is for trainer.patience, which is null"),
        (["trainer.epochs=3", "trainer.patience=3,5"], "trainer.patience: is swept, but has no effect: trainer.epochs=3 ends the run first"),
    ],
)  # fmt: skip
def test_a_swept_key_without_effect_is_refused(
    train: Command, root: Path, overrides: list[str], message: str
) -> None:
    ended = train("-m", *SHORT, "seed=0,1", *(word.strip("'") for word in overrides))
    assert ended.code == 2
    assert ended.err.startswith(message)
    assert not (root / "runs").exists()


def test_one_that_has_an_effect_in_some_jobs_is_said(train: Command, root: Path) -> None:
    swept = (
        "optimizer=sgd",
        "scheduler=one_cycle,constant",
        "optimizer.momentum=0.5,0.9",
        "sweep.plan=true",
    )
    ended = train("-m", *SHORT, *swept)
    assert ended.code == 0
    assert (
        "optimizer.momentum: 2 of 4 jobs come out the same as another: has no effect: OneCycleLR"
        in ended.out
    )


def test_what_has_an_effect_is_swept_in_peace(train: Command, root: Path) -> None:
    for swept in (
        ("scheduler=one_cycle", "optimizer.lr=0.01,0.1"),
        ("trainer.patience=3,5", "trainer.min_delta=0,0.1"),
    ):
        ended = train("-m", *SHORT, *swept, "sweep.plan=true")
        assert ended.code == 0
        assert "effect" not in ended.out


def test_two_of_equal_effect_come_out_equal(train: Command, root: Path) -> None:
    for overrides in (
        ["optimizer.momentum=0.5", "optimizer.lr=3"],
        ["optimizer.momentum=0.9", "optimizer.lr=7"],
    ):
        train(
            *SHORT,
            "trainer.epochs=2",
            "optimizer=sgd",
            "scheduler=one_cycle",
            "scheduler.max_lr=0.1",
            *overrides,
        )
    runs = Store(root / "runs").runs()
    digests = [result.weights_sha256 for run in runs if (result := run.result())]
    assert len(digests) == 2
    assert len(set(digests)) == 1
