"""Any words on the command line: exit code 0 or 2, one message, never a traceback, and nothing made where it is 2."""

from __future__ import annotations

import itertools
import random
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command, Ended, Tried, ended
from hypothesis import strategies

from sweeplab.commands import cli

KEYS = [
    "model", "model.hidden", "model.dropout", "model.activation", "model._target_", "model.batch_norm", "loss", "loss.weight",
    "optimizer", "optimizer.lr", "optimizer.betas", "optimizer._target_", "scheduler", "scheduler.patience", "scheduler._target_",
    "data", "data.valid", "data.dataset", "data.dataset._target_", "data.shape", "data.root", "data.std", "trainer", "trainer.epochs",
    "trainer.batch_size", "trainer.monitor", "trainer.target", "trainer.init_from", "trainer.threads", "trainer.device", "seed", "metrics",
    "metrics.f1", "metrics.f1._target_", "store", "store.root", "store.reuse", "tracking", "tracking.uri", "tracking.experiment",
    "sweep", "sweep.zip", "sweep.when", "sweep.where", "sweep.sample", "sweep.from", "sweep.baseline", "sweep.replicate", "sweep.workers", "sweep.id", "experiment", "debug",
    "hydra", "hydra.mode", "hydra.sweeper.params", "hydra.verbose", "hydra/launcher", "hydra/sweeper", "hydra.job.name", "hydra.run.dir",
    "model@loss", "data@data", "optimizer.", ".lr", "a.b.c", "x",
]  # fmt: skip
SIGNS = ["", "", "", "", "+", "++", "~", "+++", "-", "--", "~~", " "]
VALUES = [
    "1", "0", "-1", "8", "0.1", "1e-3", ".5", "1.", "1e999", "nan", "inf", "-inf", "1_000", "0x10", "99999999999999999999", "true", "False",
    "null", "None", "relu", "mlp", "linear", "digits", "mse", "adam", "fast", "smoke", "auto", "valid/loss", "a b", "''", '""', "'a", '"', "\\",
    "[", "]", "[]", "[8,8]", "[8,[8]]", "[null]", "[a,", "{}", "{a:1}", "{a:{b:1}}", "{a", "{a:1,a:2}", "{1:2}", "{lr:0.1}", "[{a:1}]",
    "1,2", "1,", ",1", ",", "a,b", "1,a,null", "[8],[8,8]", "{a:1},{a:2}", "range(3)", "range(0)", "range(3,0)", "range(0,1,0)",
    "range(0,1,0.3)", "choice(1,2)", "choice()", "glob(*)", "glob([a*,b*])", "interval(0,1)", "interval(1,0)", "tag(a,1,2)", "sort(3,1,2)",
    "shuffle(1,2)", "int(1.5)", "int(a)", "float(1)", "str(1)", "bool(x)", "json_str(1)", "extend_list(1)", "f(1)", "${seed}", "${model}",
    "${nothing}", "${oc.env:NOTHING}", "${oc.env:NOTHING,1}", "${oc.decode:'{'}", "${hydra:job.name}", "${now:%Y}", "${", "${}", "$seed", "${.}",
    "${model.hidden}", "${oc.create:{a:1}}", "???", "torch.nn.Linear", "torch.nn.Lineer", "torch", "os.system", "builtins.print", "a..b",
    "sqlite:///x.db", "http://127.0.0.1:9", "postgresql://a:b@127.0.0.1:9/c", "/dev/null", "/", "~", "~/x", "../x", "runs", "é", "\u0000", "💥", "=",
    "a=b", "==", "%", "#", "@", "*", "?", "!", ":", ";", "seed", "seed=1", "model.hidden=8", "model.hidden > 8", "model.hidden <", "[seed]", "[model]",
    "multirun", "RUN", "optuna", "basic", "joblib", "sweeplab", "ray", "submitit_local", "***",
]  # fmt: skip
RIGHT = [
    "model=linear", "model=mlp,linear", "model=mlp model.hidden=8,[8,8]", "model={hidden:8}", "model=cnn data.flatten=false", "optimizer=sgd,adam",
    "optimizer=sgd optimizer.momentum=0", "optimizer.lr=0.1,0.01", "optimizer.lr=choice(0.1,0.01)", "optimizer.lr=range(0.1,0.3,0.1)",
    "optimizer={lr:0.1},{lr:0.2}", "+optimizer.amsgrad=true,false", "++optimizer.betas=[0.9,0.99]", "~optimizer.fused", "scheduler=cosine,constant",
    "scheduler=one_cycle", "loss=mse,nll", "loss=cross_entropy +loss.reduction=sum,mean", "data=diabetes loss=mse", "data.valid=100,119",
    "data.split_seed=range(2)", "seed=range(3)", "seed=1,1", "seed=shuffle(1,2)", "seed=sort(2,1)", "seed=\"'1','2'\"", "trainer.epochs=1,2",
    "trainer.epochs=1,2 seed=3,4 sweep.zip=[trainer.epochs,seed]", "trainer=fast trainer.batch_size=64", "debug=smoke,overfit", "debug=smoke",
    "sweep.where=\"'seed > 0'\"", "sweep.where=\"'seed < 0'\"", "sweep.where=\"'optimizer.lr == 0.1 or not model.bias'\"", "sweep.where=\"'model.hidden < 8'\"",
    "sweep.baseline=\"'optimizer.lr=0.1'\"", "sweep.baseline=\"'seed=1'\"", "sweep.baseline=\"'optimizer.lr=.1'\"", "sweep.baseline=\"'model=linear,seed'\"",
    "sweep.replicate=[data.split_seed]", "sweep.replicate=[seed,data.split_seed]", "sweep.replicate=[]", "sweep.replicate=[model]",
    "+metrics.m._target_=torch.nn.Linear", "hydra/launcher=basic", "hydra/launcher=joblib", "hydra.mode=MULTIRUN", "hydra/sweeper=optuna",
    "hydra/sweeper=optuna optimizer.lr=tag(log,interval(0.01,0.1))", "hydra/sweeper=optuna optimizer.lr=0.1,0.2 hydra.sweeper.n_trials=2",
    "hydra.sweeper.params={seed:\"'1,2'\"}", "+hydra.sweeper.params.seed=\"'1,2'\"", "hydra.sweeper.max_batch_size=1",
    "optimizer=sgd,adam optimizer.momentum=0,0.9 sweep.when={optimizer.momentum:\"'optimizer==1'\"}", "sweep.when={seed:\"'true'\"}",
    "sweep.sample=2", "sweep.sample=2 sweep.sample_seed=1", "sweep.from=latest", "sweep.from=width", "sweep.from=null",
    "experiment=fast", "experiment=width", "store.root=elsewhere", "tracking=mlflow", "tracking.uri=sqlite:///x.db", "sweep.workers=2,3",
]  # fmt: skip
OPTIONS = [
    "-m",
    "--multirun",
    "--run",
    "-h",
    "--help",
    "--cfg",
    "job",
    "-c",
    "hydra",
    "--info",
    "--version",
    "-p",
    "--resolve",
    "--",
    "-",
    "-x",
    "--hydra-help",
]
ODD = "=,[]{}()'\"\\$+~@:./ 01e-_amodlé💥\n\t"
QUICK = (
    "data=digits",
    "model=linear",
    "trainer.threads=1",
    "trainer.epochs=1",
    "trainer.limit_batches=1",
    "sweep.plan=true",
)


def lines() -> strategies.SearchStrategy[list[str]]:
    """`train.py`, or `sweeplab` with one of its commands, and what follows."""
    return strategies.integers(0, 2**48).map(lambda number: _line(random.Random(number)))


def _line(rng: random.Random) -> list[str]:
    given = [word for _ in range(rng.randint(1, 3)) for word in _words(rng)]
    if rng.random() < 0.2:
        return ["sweeplab", rng.choice(["compare", "runs", "sync", "replay"]), *given]
    options = rng.choice([[], ["-m"], ["-m"], ["-m"], [rng.choice(OPTIONS)]])
    if rng.random() < 0.1:
        return ["train.py", *QUICK, *given, *options]
    return ["train.py", *options, *QUICK, *given]


def _words(rng: random.Random) -> list[str]:
    """Settings that are in order, a key with any value, or no setting at all."""
    kind = rng.random()
    if kind < 0.5:
        return shlex.split(rng.choice(RIGHT))
    if kind < 0.9:
        sign = rng.choice(SIGNS) if rng.random() < 0.4 else ""
        return [
            f"{sign}{rng.choice(KEYS)}={rng.choice(VALUES) if rng.random() < 0.8 else _odd(rng)}"
        ]
    return [rng.choice([rng.choice(KEYS), rng.choice(VALUES), _odd(rng)])]


def _odd(rng: random.Random) -> str:
    return "".join(rng.choices(ODD, k=rng.randint(0, 8)))


def made(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def entered(
    root: Path, train: Command, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ended]:
    """Issue a command line in an empty folder; a run or a sweep is planned only."""
    monkeypatch.setenv("HOME", str(root))
    numbers = itertools.count()

    def enter(name: str, *given: str) -> Ended:
        here = root / f"{next(numbers)}"
        here.mkdir()
        monkeypatch.chdir(here)
        if name == "train.py":
            return train(*given)
        return ended(lambda: cli.main(given), capfd)

    return enter


def test_any_command_line_is_done_or_refused_with_one_message(
    entered: Callable[..., Ended], root: Path, tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(line: list[str]) -> None:
        ended = entered(*line)
        monkeypatch.chdir(root)
        left = made(root)
        for folder in root.iterdir():
            shutil.rmtree(folder)
        assert ended.code in (0, 2), ended
        assert "Traceback" not in ended.out + ended.err
        if ended.code == 2:
            said = ended.err.strip().splitlines()
            assert said
            assert len(set(said)) == len(said)
            assert [path for path in left if not path.isdigit()] == []

    tried(check, lines(), few=40, many=5000)
