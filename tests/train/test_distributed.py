"""One run on several ranks: the numbers of one process, one journal, and an end that all ranks share.

They are started as a user starts them, by torchrun, or with what that sets, and compute on the CPU with gloo. What CUDA does otherwise
(NCCL, SyncBatchNorm) is not tested here.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import ready
import torch
from conftest import PROJECT, Command, Ended
from servers import free_port
from stored import facts, only
from torch import Tensor, nn

from sweeplab import load_model
from sweeplab.data import Batches, InMemorySplit
from sweeplab.store import Run, Store
from sweeplab.train import distributed, ranks

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
WHOLE = ("data=digits", "trainer.threads=1", "trainer.patience=null", "tracking=off")
PLAIN = (*WHOLE, "model.batch_norm=false", "trainer.epochs=6")
UNEVEN = (
    "data.valid=101",
    "trainer.eval_batch_size=50",
)  # in the end one example, which only one rank gets
LONG = (*WHOLE, "model.dropout=0.2", "scheduler=one_cycle", "trainer.epochs=40")


class Broken(nn.Linear):
    """A network that fails in its third epoch on the ranks that BROKEN names."""

    steps = 0

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        self.steps += self.training and not input.is_meta
        if self.steps > 20 and os.environ["RANK"] in os.environ["BROKEN"]:
            raise ValueError("a bug")
        return super().forward(input)


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make this process one of several: `several(count, rank)`."""

    def be(count: int, rank: int = 0) -> None:
        variables = {
            "WORLD_SIZE": count,
            "LOCAL_WORLD_SIZE": count,
            "RANK": rank,
            "TORCHELASTIC_RUN_ID": 0,
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return be


def start(root: Path, *overrides: str, **environment: str) -> subprocess.Popen[str]:
    """`torchrun train.py ...` with two ranks."""
    env = {**os.environ, "PYTHONPATH": str(PROJECT / "tests"), **environment}
    command = [*TORCHRUN, str(PROJECT / "train.py"), *overrides]
    return subprocess.Popen(
        command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def both(root: Path, *overrides: str) -> list[Ended]:
    """Two ranks without torchrun itself, forked from a process that has loaded PyTorch."""
    env = {
        **os.environ,
        "PYTHONPATH": str(PROJECT / "tests"),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "TORCHELASTIC_RUN_ID": "0"}
    words = [sys.executable, str(PROJECT / "train.py"), *overrides]
    ranks = [
        ready.Popen(
            words,
            cwd=root,
            env=env | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=ready.PIPE,
            stderr=ready.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    return [end(rank) for rank in ranks]


def end(started: subprocess.Popen[str]) -> Ended:
    out, err = started.communicate(timeout=150)
    return Ended(started.returncode, out, err)


def worst(one: Run, other: Run) -> float:
    """The largest difference between any two metrics of an epoch; both have the same epochs."""
    ours, theirs = one.epochs(), other.epochs()
    assert ours.keys() == theirs.keys()
    return max(abs(ours[n][name] - theirs[n][name]) for n in ours for name in ours[n])


def test_two_ranks_have_the_curves_of_one_process_and_write_one_journal(
    train: Command, root: Path
) -> None:
    more = ("trainer.shift=1", "trainer.clip_norm=0.5", *UNEVEN)
    ranks = both(root, *PLAIN, *more, "store.root=two")
    assert [(ended.code, ended.err) for ended in ranks] == [(0, "")] * 2
    assert [ended.out.count("epoch   1/6") for ended in ranks] == [1, 0], "one rank speaks"
    train(*PLAIN, *more)
    one, two = only(root), only(root, "two")
    assert worst(one, two) < 1e-5
    assert all(a["valid/accuracy"] == b["valid/accuracy"] for a, b in zip(one.epochs().values(), two.epochs().values(), strict=True))  # fmt: skip
    assert two.id == one.id, "on how many ranks is how, not what"
    assert [e["event"] for e in two.journal.events()] == ["start", *["epoch"] * 6, "end"]
    assert two.journal.events()[0]["provenance"]["ranks"] == 2
    assert "ranks" not in one.journal.events()[0]["provenance"]
    assert [n.split(".")[0] for n in load_model(two.folder).state_dict()][:2] == ["0", "0"], (
        "no `module.` before it"
    )


def test_a_loss_of_a_whole_set_is_computed_of_what_all_ranks_have_seen(
    train: Command, root: Path
) -> None:
    still = (
        *PLAIN,
        *UNEVEN,
        "loss._target_=own.Dice",
        "~loss.label_smoothing",
        "optimizer.lr=0",
        "trainer.epochs=1",
    )
    assert [(ended.code, ended.err) for ended in both(root, *still, "store.root=two")] == [
        (0, "")
    ] * 2
    train(*still)
    one, two = (only(root, name).epochs()[1] for name in ("runs", "two"))
    assert two["valid/loss"] == pytest.approx(one["valid/loss"], rel=1e-6)


@pytest.mark.full
@pytest.mark.parametrize("victim", [0, 1])
def test_a_run_with_a_killed_rank_goes_on_with_the_bits_of_one_undisturbed(
    root: Path, victim: int
) -> None:
    whole = end(start(root, *LONG, "store.root=whole"))
    assert "BatchNorm without CUDA: its statistics are those of each rank's share" in whole.out
    started = start(root, *LONG)
    os.kill(rank_at_work(root, started.pid, victim), signal.SIGKILL)
    ended = end(started)
    assert ended.code == 1
    assert "exitcode  : -9" in ended.err.partition("Root Cause")[2], "torchrun names the rank"
    assert only(root).status in ("interrupted", "unfinished")
    again = end(start(root, *LONG))
    assert "goes on after epoch" in again.out
    assert facts(only(root)) == facts(only(root, "whole"))


@pytest.mark.full
def test_ctrl_c_ends_all_ranks_and_keeps_what_was_done(root: Path, train: Command) -> None:
    started = start(root, *LONG)
    rank_at_work(root, started.pid, 0)
    started.send_signal(signal.SIGINT)
    ended = end(started)
    assert (
        ended.err.count(
            "interrupted: what was finished is kept; issue the same command again for the rest"
        )
        == 1
    )
    assert only(root).status == "interrupted"
    again = train(*LONG)
    assert (again.code, only(root).status) == (0, "finished")
    assert f"run {only(root).id} had 2 ranks and now has 1, which gives other bits" in again.out


@pytest.mark.full
@pytest.mark.parametrize(
    ("broken", "status"), [("01", "failed"), ("0", "failed"), ("1", "interrupted")]
)
def test_an_error_of_one_rank_ends_all(root: Path, broken: str, status: str) -> None:
    network = ("model=linear", "model._target_=test_ddp.Broken")
    ended = end(start(root, *WHOLE, *network, BROKEN=broken))
    assert ended.code == 1
    assert only(root).status == status
    assert ended.err.count("failed: ValueError: a bug\nits log: ") == (status == "failed")
    assert ("ValueError: a bug" in ended.err.partition("Root Cause")[2]) == (broken != "0"), (
        "torchrun tells the rest"
    )


def rank_at_work(root: Path, torchrun: int, rank: int) -> int:
    """The process of a rank, when three epochs have been journalled (or 100 s are over)."""
    for _ in range(1000):
        time.sleep(0.1)
        if any(len(run.epochs()) >= 3 for run in Store(root / "runs").runs()):
            break
    children = Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()
    (pid,) = [
        int(c) for c in children if f"\0RANK={rank}\0" in Path(f"/proc/{c}/environ").read_text()
    ]
    return pid


def test_what_several_ranks_cannot_do_is_refused(
    train: Command, root: Path, several: Callable[..., None]
) -> None:
    several(3)
    ended = train(
        *WHOLE,
        "trainer.overfit_batches=2",
        "+loss.reduction=sum",
        "+metrics.f1._target_=own.Share",
        "data.batch_transform._target_=own.mix",
    )
    assert ended.code == 2
    assert ended.err.splitlines() == [
        "torchrun has started 3 ranks of one run:",
        "trainer.batch_size=128: must be a multiple of 3, for equal shares",
        "trainer.overfit_batches=2: is for one process; null is off",
        "loss: must be a mean over examples without weights, or that of shares is not that of a batch",
        "data.batch_transform=own.mix: would see shares of batches; null is off",
        "metrics.f1: would see a share only; leave it out",
    ]
    lbfgs = ("optimizer=sgd", "optimizer._target_=torch.optim.LBFGS", "~optimizer.momentum", "~optimizer.weight_decay", "~optimizer.fused", "trainer.batch_size=120")  # fmt: skip
    assert (
        "optimizer=torch.optim.LBFGS: would go by the loss of a share" in train(*WHOLE, *lbfgs).err
    )
    centres = (
        "loss._target_=own.Centres",
        "~loss.label_smoothing",
        "+loss.classes=10",
        "trainer.batch_size=120",
    )
    assert (
        "loss=own.Centres: has parameters or buffers, which ranks do not share"
        in train(*WHOLE, *centres).err
    )
    ignoring = train(*WHOLE, "+loss.ignore_index=3", "trainer.batch_size=120")
    assert "loss: must be a mean over examples without weights" in ignoring.err
    refusal = (2, "-m: torchrun has started 3 ranks of one run; start a sweep with python\n")
    sweep = train("-m", *WHOLE, "seed=1,2")
    assert (sweep.code, sweep.err) == refusal
    assert list(root.iterdir()) == []
    basic = train("-m", *WHOLE, "seed=1,2", "hydra/sweeper=basic", "hydra/launcher=sweeplab")
    assert (basic.code, basic.err) == refusal
    assert not (root / "runs").exists()


def test_other_ranks_are_silent_and_leave_the_first_the_word(
    several: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    for rank in (0, 1):
        several(2, rank)
        monkeypatch.setattr(sys, "stdout", said := io.StringIO())
        monkeypatch.setattr(sys, "stderr", said)
        ranks.silence_other_ranks()
        print("hello")
        ranks.let_main_process_report(ValueError())
        ranks.let_main_process_report(KeyboardInterrupt())
        assert sys.stdout is sys.stderr
        assert (said.getvalue(), waited) == (
            ("hello\n", []) if rank == 0 else ("", [ranks.PATIENCE])
        )
    sys.stdout.close()


def test_variables_that_torchrun_has_not_set_mean_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.setenv(name, "4")
    assert (ranks.world_size(), ranks.is_main_process()) == (1, True)


@pytest.mark.parametrize(("batch", "shares"), [
    (4, [[[0, 1], [4, 5], [8]], [[2], [6], [9]], [[3], [7]]]),
    (1, [[[n] for n in range(10)], [], []]),
])  # fmt: skip
def test_the_shares_of_every_batch_are_the_batch(
    several: Callable[..., None], batch: int, shares: list[list[list[int]]]
) -> None:
    split = InMemorySplit(torch.arange(10.0).unsqueeze(1), torch.arange(10))
    for rank in range(3):
        several(3, rank)
        share = distributed.ShardedBatches(split, batch, device="cpu")
        assert [targets.tolist() for _, targets in share.epoch(1)] == shares[rank]
        assert share.sizes() == [len(numbers) for numbers in shares[rank]]
        assert (len(share), share.examples) == (len(Batches(split, batch, device="cpu")), 10)


def test_each_rank_has_its_part_of_the_cores(
    several: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeplab.config import Trainer

    monkeypatch.setattr("sweeplab.train.cpus.count", lambda: 9)
    assert distributed.place_rank(Trainer(device="cpu")).threads is None
    several(4)
    assert distributed.place_rank(Trainer(device="cpu")).threads == 2
    assert distributed.place_rank(Trainer(device="cpu", threads=3)).threads == 3
    several(10)
    assert distributed.place_rank(Trainer(device="cpu")).threads == 1
