"""A record, trained again: the same bits, or what differs and why; and records that are refused, whatever they hide."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Command, unsealed
from torch.utils.data import IterableDataset

from sweeplab import config, console, targets, tracking
from sweeplab.config import Tracking
from sweeplab.data import Digits
from sweeplab.runs import run as running
from sweeplab.store import Run, Store

HERE = __name__
DIGITS = ("data=digits", "trainer.threads=1", "trainer.epochs=3")
SMALL = (*DIGITS, "model.hidden=16")
Node = dict[str, Any]
recorded: dict[str, bytes] = {}

TEN = [
    ["model=linear", "optimizer=sgd"],
    ["model.hidden=[32,16]", "optimizer=adamw", "scheduler=one_cycle", "model.dropout=0.2"],
    ["model=cnn", "loss=nll", "scheduler=cosine"],
    ["loss=mse", "optimizer=sgd", "optimizer.lr=0.01"],
    ["optimizer=sgd", "optimizer._target_=torch.optim.RMSprop", "~optimizer.momentum", "~optimizer.fused", "scheduler=constant"],
    ["trainer.precision=bf16", "model.dropout=0.1"],
    ["trainer.threads=2", "seed=3", "trainer.epochs=2"],
    ["data=diabetes", "loss=mse", "trainer.batch_size=32", "trainer.epochs=5"],
    ["model=cnn", "trainer.precision=bf16", "trainer.threads=2", "trainer.clip_norm=0.1", "trainer.epochs=1", "trainer.limit_batches=1", "trainer.eval_batch_size=100"],
    ["model._target_=torch.nn.Linear", "model=linear", "trainer.epochs=9", "trainer.patience=1", "optimizer.lr=0.5"],
]  # fmt: skip


class FromFile(Digits):
    """A set of the user's own, of as many digits as a file says."""

    def __init__(self, path: str) -> None:
        super().__init__()
        count = int(Path(path).read_text())
        self.inputs, self.targets = self.inputs[:count], self.targets[:count]


class OneByOne(IterableDataset[Any]):
    """The first 200 digits, in their order only."""

    def __len__(self) -> int:
        return 200

    def __iter__(self) -> Iterator[Any]:
        digits = Digits()
        return (digits[number] for number in range(200))


def only(root: Path) -> Run:
    (run,) = Store(root / "runs").runs()
    return run


def copied(run: Run) -> Run:
    """A record by itself, as one gets it from somebody else."""
    return Run(
        Path(shutil.copytree(run.folder, run.folder.parents[1] / "copy", dirs_exist_ok=True))
    )


def edit(run: Run, change: Callable[[Node], object]) -> None:
    """Change config.yaml."""
    settings = run.config()
    change(settings)
    run.config_file.write_text(yaml.safe_dump(settings))


def edit_journal(run: Run, change: Callable[[list[Node]], object]) -> None:
    events = run.journal.events()
    change(events)
    run.journal.path.write_text("".join(json.dumps(event) + "\n" for event in events))


@pytest.fixture
def copy(root: Path, train: Command, replay: Command) -> Run:
    """A record by itself, as one gets it from somebody else; the run is in the store, too. It is trained once for all."""
    if not recorded:
        assert train(*SMALL).code == 0
        assert replay(only(root).id).code == 0  # and what that imports is imported
        recorded.update(contents(root), root=str(root).encode())
    for name, content in recorded.items():
        if name.startswith("runs/") and content:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(
                unsealed(content).replace(recorded["root"], str(root).encode())
            )
    return copied(only(root))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b""
        for p in folder.rglob("*")
    }


# --- the same, or not


@pytest.mark.few(4)
@pytest.mark.parametrize("overrides", TEN, ids=" ".join)
def test_ten_different_runs_are_reproduced(
    train: Command, replay: Command, root: Path, overrides: list[str]
) -> None:
    assert train(*DIGITS, *overrides).code == 0
    run, before = only(root), contents(root)
    result = run.result()
    assert result is not None
    torch.set_num_threads(1)
    ended = replay(run.id[:8])
    assert (ended.code, ended.err) == (0, "")
    epochs = int(result.metrics["early_stop_epoch"])
    assert ended.out.endswith(
        f"identical: {console.counted(epochs, 'epoch')}, same weights (sha256 {result.weights_sha256})\n"
    )
    assert "epoch   1/" in ended.out, "its progress is shown"
    assert "differs" not in ended.out
    assert torch.get_num_threads() == (2 if "trainer.threads=2" in overrides else 1)
    assert contents(root) == before


def test_a_record_with_a_secret_is_replayed_by_who_gives_it(
    train: Command, replay: Command, root: Path
) -> None:
    guarded = (
        "model=linear",
        "model._target_=own.Guarded",
        "+model.password=correct-horse",
        "+model.class_token=cls",
    )
    assert train(*DIGITS, *guarded).code == 0
    name, trust = only(root).id, ("--trust", "own")
    ended = replay(name, *trust)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "model.password=*** (sha256 9dca666e): its value is a secret, which the record hides; "
        "give it: '+model.password=...'\n"
    )
    assert replay(name, *trust, "+model.password=correct-horse").code == 0
    ended = replay(name, *trust, "+model.password=wrong-horse")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("model.password: what is given is not the value of the record")
    ended = replay(name, *trust, "+model.class_token=mean")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("+model.class_token=mean: replay trains what the record says")


def test_an_edited_learning_rate_is_found_at_epoch_1_and_named(
    copy: Run, replay: Command, root: Path
) -> None:
    edit(copy, lambda c: c["optimizer"].update(lr=0.002))
    ended = replay("copy")
    assert ended.code == 1
    first = only(root).epochs()[1]["train/loss"]
    assert ended.err.startswith(f"copy came out otherwise:\n  epoch 1, train/loss: {first} then, ")
    assert (
        "it may be due to:\n  optimizer.lr: 0.001 in the journal, 0.002 in config.yaml\n"
        in ended.err
    )
    assert len(ended.err.splitlines()) == 4
    assert "epoch   2/3" not in ended.out, "there is no need to train on"


def test_what_config_yaml_changes_is_named_though_the_bits_are_the_same(
    copy: Run, replay: Command, root: Path
) -> None:
    edit(copy, lambda c: (c["trainer"].update(patience=7), c["sweep"].update(id="ab")))
    ended = replay(str(copy.folder))
    assert ended.code == 0
    assert "config.yaml, which is trained, differs from the journal's first line:\n" in ended.out
    assert (
        '  trainer.patience: 5 in the journal, 7 in config.yaml\n  sweep.id: null in the journal, "ab"'
        in ended.out
    )
    assert "identical: 3 epochs" in ended.out


def test_a_record_from_before_the_rates_were_recorded_is_replayed(
    copy: Run, replay: Command
) -> None:
    edit_journal(copy, lambda events: [events[n]["metrics"].pop("train/lr") for n in (1, 2, 3)])
    assert "identical: 3 epochs" in replay("copy").out
    edit_journal(copy, lambda events: events[2]["metrics"].update({"train/lr": 0.5}))
    assert "epoch 1, train/lr: nothing then, 0.001 now" in replay("copy").err


def test_an_edited_journal_value_has_no_explanation(copy: Run, replay: Command, root: Path) -> None:
    edit_journal(copy, lambda events: events[2]["metrics"].update({"valid/accuracy": 0.5}))
    now = only(root).epochs()[2]["valid/accuracy"]
    ended = replay("copy")
    assert (ended.code, ended.err) == (
        1,
        (
            f"copy came out otherwise:\n  epoch 2, valid/accuracy: 0.5 then, {now} now\n"
            "nothing that was recorded explains it\n"
        ),
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weights_sha256": "0" * 64}, f'  weights_sha256: "{"0" * 64}" then, "'),
        ({"stop_reason": "patience"}, '  stop_reason: "patience" then, "max_epochs" now\n'),
        ({"metrics": {"best_epoch": 9, "seconds": 5}}, "  best_epoch: 9.0 then, 3.0 now\n  early_stop_epoch: nothing then, 3.0 now\n"),
    ],
)  # fmt: skip
def test_what_came_out_at_the_end_is_compared(
    copy: Run, replay: Command, root: Path, change: Node, says: str
) -> None:
    edit_journal(copy, lambda events: events[-1].update(change))
    ended = replay("copy")
    assert ended.code == 1
    assert ended.err.startswith(f"copy came out otherwise:\n{says}")


def test_an_epoch_more_or_less_is_a_difference(copy: Run, replay: Command, root: Path) -> None:
    edit_journal(copy, lambda events: events.insert(4, {**events[3], "epoch": 4}))
    assert "  epoch 4, train/loss: " in replay("copy").err
    assert " then, nothing now\n" in replay("copy").err
    edit_journal(copy, lambda events: [events.pop(3), events.pop(3)])
    assert "  epoch 3, train/loss: nothing then, " in replay("copy").err


def test_all_that_was_otherwise_then_is_named(
    copy: Run, replay: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def change(events: list[Node]) -> None:
        start, epoch = events[0], events[1]
        start["provenance"]["versions"].update(torch="1.0", numpy="0.1", extra="3")
        start["provenance"].update(device="cuda:7 (Old GPU)", platform="Solaris", cores=99)
        start["provenance"]["torch"]["cpu_capability"] = "DEFAULT"
        epoch["metrics"]["train/loss"] = 7.0

    edit_journal(copy, change)
    monkeypatch.setattr("sweeplab.targets.hashing.NUMERICS", 99)
    err = replay("copy").err
    for said in (
        '  versions.torch: "1.0" then, "',
        '  versions.numpy: "0.1" then, "',
        '  versions.extra: "3" then, nothing now\n',
        '  device: "cuda:7 (Old GPU)" then, "',
        '  platform: "Solaris" then, "',
        '  torch.cpu_capability: "DEFAULT" then, "',
        "  the code: sweeplab's own (NUMERICS), or that of the record's classes\n",
        f'  code.numerics: "{targets.NUMERICS}" then, "99" now\n',
    ):
        assert said in err
    assert "cores" not in err
    edit_journal(copy, lambda events: events[0]["data"].update(digest="0" * 64))
    assert f'  data.digest: "{"0" * 64}" then, "' in replay("copy").err


def test_the_recorded_number_of_threads_counts_not_the_config(
    copy: Run, replay: Command, root: Path
) -> None:
    edit_journal(copy, lambda events: events[0]["provenance"].update(threads=2))
    assert "on cpu, trainer.threads=2" in replay("copy").out
    assert torch.get_num_threads() == 2
    edit_journal(copy, lambda events: events[0]["provenance"].update(threads=10**6))
    ended = replay("copy")
    assert (ended.code, ended.err) == (
        2,
        "copy: refused: 1000000 threads would exhaust this machine\n",
    )


def test_a_run_that_diverged_or_ran_out_of_time_is_reproduced(
    train: Command, replay: Command, root: Path
) -> None:
    train(
        "data=digits",
        "trainer.threads=1",
        "loss=mse",
        "optimizer=sgd",
        "optimizer.lr=1e30",
        "model=linear",
    )
    assert replay(only(root).id).out.endswith("identical: 1 epoch, no weights in either\n")
    shutil.rmtree(root / "runs")
    train(*DIGITS, "trainer.time_limit=0.000001", "scheduler=one_cycle")
    ended = replay(only(root).id)
    assert (ended.code, ended.err) == (0, "")
    assert "identical: 1 epoch, same weights" in ended.out


def test_a_run_that_is_not_deterministic_is_said_to_be_so(
    train: Command, replay: Command, root: Path
) -> None:
    train(*DIGITS, "model=linear", "model._target_=own.Erratic", "trainer.deterministic=false")
    ended = replay(only(root).id, "--trust", "own")
    assert ended.code == 1
    assert "  epoch 1, train/loss: " in ended.err
    assert "trainer.deterministic=false promise no bits" in ended.err


def test_a_run_that_raises_now_is_a_failure(
    copy: Run, replay: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def fail(*_: object) -> None:
        raise RuntimeError("no more")

    monkeypatch.setattr("sweeplab.runs.training.Training._save", fail)
    ended = replay(only(root).id)
    assert (ended.code, ended.err) == (
        1,
        f"replaying {only(root).id} failed: RuntimeError('no more')\n",
    )


def test_a_run_that_started_from_another_needs_that_one_in_the_store(
    copy: Run, train: Command, replay: Command, root: Path
) -> None:
    first = only(root)
    train(*SMALL, f"trainer.init_from={first.folder}", "trainer.epochs=2")
    (second,) = [run for run in Store(root / "runs").runs() if run.id != first.id]
    assert replay(second.id).code == 0
    other, second = second.id, copied(second)
    shutil.move(first.folder, root / "away")
    ended = replay("copy")
    assert ended.code == 2
    assert ended.err == (
        f"trainer.init_from={first.id}: no such run in {root}/runs; its folders are the runs' names; "
        "the weights to start from must be there\n"
    )
    edit(second, lambda c: c["trainer"].update(init_from=str(root / "away")))
    assert replay("copy").err.startswith(
        f'trainer.init_from="{root}/away": refused: a record can only name a run'
    )
    edit(second, lambda c: c["trainer"].update(init_from=other))
    assert "or trainer.init_from holds other weights" in replay("copy").err
    shutil.copytree(second.folder, first.folder)
    edit(second, lambda c: c["trainer"].update(init_from=first.id))
    assert "that run has no weights" in replay("copy").err, (
        "a folder that bears another run's name is not that run"
    )


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # mlflow's own code
def test_an_mlflow_server_is_enough(copy: Run, replay: Command, root: Path) -> None:
    run = only(root)
    run.journal.append("track", experiment="demo")
    assert tracking.sync(Store(root / "runs"), Tracking(), lambda *_: None) == []
    (place,) = tracking.run_places(run, f"sqlite:///{root}/mlflow.db")
    shutil.rmtree(root / "runs")
    before = contents(root)
    ended = replay(place.run_id, "store.root=elsewhere")
    assert (ended.code, ended.err) == (0, "")
    assert f"replaying {place.run_id}: 3 epochs" in ended.out
    assert "identical: 3 epochs, same weights" in ended.out
    assert contents(root) == before, "and nothing was fed"
    assert replay("0" * 32).code == 2


# --- records that are none


def test_only_a_finished_run_can_be_replayed(copy: Run, replay: Command, root: Path) -> None:
    edit_journal(copy, lambda events: events[-1].update(status="interrupted"))
    assert replay("copy").err == "copy: is interrupted; only a finished run can be replayed\n"
    edit_journal(copy, lambda events: events.pop())
    assert replay("copy").err == f"{copy.journal.path}: is damaged: its end is missing\n"
    copy.result_file.unlink()
    assert replay("copy").err == "copy: is unfinished; only a finished run can be replayed\n"
    copy.journal.path.unlink()
    assert (
        replay("copy").err
        == "copy: has no journal.jsonl; a record is a config.yaml and a journal.jsonl\n"
    )
    shutil.copy(only(root).journal.path, copy.journal.path)
    copy.config_file.unlink()
    assert (
        replay("copy").err
        == "copy: has no config.yaml; a record is a config.yaml and a journal.jsonl\n"
    )
    assert replay("copy").code == 2
    assert (
        replay("0123").err == f"0123: no such run in {root}/runs; its folders are the runs' names\n"
    )
    assert "replay trains what the record says" in replay("copy", "model.hidden=3").err


@pytest.mark.parametrize("journal", ["", "x\n", "[]\n", "{}\n", '{"event": "start"}\n', '{"event": "start", "config": 1, "data": 2, "provenance": 3}\n'])  # fmt: skip
def test_a_journal_that_is_none_is_refused(
    copy: Run, replay: Command, root: Path, journal: str
) -> None:
    only(root).journal.path.write_text(journal)
    ended = replay(only(root).id)
    assert ended.code == 2
    assert "journal.jsonl" in ended.err
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model: !!python/object/apply:os.system ['touch MARK']", "config.yaml: refused: could not determine a constructor for the tag"),
        ("a: &a [1, 2]\nb: [*a, *a]", "config.yaml: refused: a record has no aliases"),
        ("model: {", "config.yaml: refused: "),
        ("- 1", "config.yaml: is not a config"),
        ("[" * 500, "config.yaml: refused: "),
        ("model: !!binary aGVsbG8=", """model="b'hello'": refused: only plain numbers and words are expected"""),
        ("model: 2020-01-01", 'model="2020-01-01": refused: only plain numbers and words are expected'),
        ('model: "\\e[2J"', r'model="\u001b[2J": refused: only plain numbers and words are expected'),
        ("model: {_target_: torch.nn.Linear}", 'data.root=null: refused: it is neither'),
    ],
)  # fmt: skip
def test_a_config_that_is_none_is_refused(
    copy: Run, replay: Command, root: Path, text: str, says: str
) -> None:
    only(root).config_file.write_text(text)
    ended = replay(only(root).id)
    assert ended.code == 2
    assert ended.err.startswith(says)
    assert not (root / "MARK").exists()


# --- hostile records

TARGETS = [
    "os.system",
    "builtins.exec",
    "subprocess.Popen",
    "torch.load",
    "torch.hub.load",
    "torch.nn.modules.module.torch.load",
    "torch.optim.optimizer.torch.hub.load",
    "torch.nn.modules.module.torch.os.makedirs",
    "torch.nn.modules.module.torch.save",
    "test_replay_probe.Net",
]
LINEAR = {"_target_": "torch.nn.Linear", "in_features": 64, "out_features": 10}
Wrap = Callable[[Node, Node], object]
WRAPPED: dict[str, Wrap] = {
    "model": lambda c, node: c.update(model=node),
    "loss": lambda c, node: c.update(loss=node),
    "optimizer": lambda c, node: c.update(optimizer=node),
    "scheduler": lambda c, node: c.update(scheduler=node),
    "metric": lambda c, node: c.update(metrics={"f1": node}),
    "data set": lambda c, node: c["data"].update(dataset=node),
    "one level down": lambda c, node: c.update(model={**LINEAR, "bias": node}),
    "two levels down": lambda c, node: c.update(
        model={**LINEAR, "bias": {"deep": {"deeper": node}}}
    ),
    "in a list": lambda c, node: c["optimizer"].update(betas=[0.9, [node]]),
    "under _args_": lambda c, node: c.update(
        model={"_target_": "torch.nn.Sequential", "_args_": [LINEAR, node]}
    ),
    "for a class that recurses itself": lambda c, node: c.update(
        model={**LINEAR, "_recursive_": False, "bias": node}
    ),
    "where nothing is built": lambda c, node: c["tracking"].update(uri=node),
}


@pytest.fixture
def untouched(root: Path, monkeypatch: pytest.MonkeyPatch, copy: Run) -> Callable[[], bool]:
    """Whether nothing was imported, run or written meanwhile; what a replay needs is imported before."""
    (root / "test_replay_probe.py").write_text(
        "from pathlib import Path\nPath('MARK').touch()\nclass Net: pass\n"
    )
    monkeypatch.syspath_prepend(root)
    local = config.compose([])
    monkeypatch.setattr(config, "compose", lambda *_: local)  # takes longer than the rest together
    happened: list[str] = []
    places = ((os, "system"), (os, "makedirs"), (subprocess, "Popen"), (torch, "load"), (torch, "save"), (torch.hub, "load"), (running, "train"))  # fmt: skip
    for owner, name in places:
        monkeypatch.setattr(owner, name, lambda *_, name=name, **__: happened.append(name))
    scratch = root / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    imported, there = set(sys.modules), contents(root)

    def check() -> bool:
        now = contents(root)
        changed = {name for name in {**there, **now} if there.get(name) != now.get(name)}
        return (happened, set(sys.modules) - imported, changed - {"copy/config.yaml"}) == (
            [],
            set(),
            set(),
        )

    return check


@pytest.mark.parametrize("target", TARGETS)
def test_hostile_records_are_refused(
    copy: Run, replay: Command, untouched: Callable[[], bool], target: str
) -> None:
    honest = copy.config_file.read_text()
    for partial in ({}, {"_partial_": True}):
        node = {
            "_target_": target,
            "_args_": ["open('MARK', 'w')"],
            "command": "touch MARK",
            **partial,
        }
        for where, wrap in WRAPPED.items():
            copy.config_file.write_text(honest)
            edit(copy, lambda c, wrap=wrap, node=node: wrap(c, node))  # type: ignore[misc]
            ended = replay("copy")
            assert ended.code == 2, where
            assert ": refused: " in ended.err, where
            assert ended.err.count("\n") == 1, where
            assert untouched(), where


PLACE = "refused: a record does not say where to read or write"
NOWHERE = "refused: it is neither this machine's nor the journal's"
EVIL = "/evil/place"  # not there, and nothing of ours would make it
ELSEWHERE: dict[str, tuple[Callable[[Node], object], str]] = {
    "environment": (lambda c: c["model"].update(hidden="${oc.env:HOME}"), 'model.hidden="${oc.env:HOME}": refused: '),
    "environment as a place": (lambda c: c["data"].update(root="${oc.env:HOME}"), 'data.root="${oc.env:HOME}": refused: '),
    "its own key": (lambda c: c["model"].update(hidden="${seed}"), 'model.hidden="${seed}": refused: '),
    "in two parts": (lambda c: c.update(model={**LINEAR, "bias": "${a}${b}"}, a="$", b="{oc.env:HOME}"), 'model.bias="${a}${b}": refused: '),
    "data.root": (lambda c: c["data"].update(root=EVIL), f'data.root="{EVIL}": {NOWHERE}'),
    "store.root": (lambda c: c["store"].update(root=EVIL), f'store.root="{EVIL}": {NOWHERE}'),
    "tracking.uri": (lambda c: c["tracking"].update(uri="http://evil.invalid"), f'tracking.uri="http://evil.invalid": {NOWHERE}'),
    "the set's root": (lambda c: c["data"]["dataset"].update(_target_="sweeplab.data.MNIST", root="evil"), f'data.dataset.root="evil": {PLACE}; give it: +data.dataset.root=...'),
    "the set's _args_": (lambda c: c["data"].update(dataset={"_target_": "sweeplab.data.MNIST", "_args_": ["evil"]}), f'data.dataset._args_[0]="evil": {PLACE}'),
    "a set for a network": (lambda c: c.update(model={"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "sweeplab.data.MNIST", "root": "evil"}]}), f'model._args_[0].root="evil": {PLACE}'),
    "a set for a bias": (lambda c: c.update(model={**LINEAR, "bias": {"_target_": "sweeplab.data.MNIST", "_args_": [["evil"]]}}), f'model.bias._args_[0][0]="evil": {PLACE}'),
    "a path": (lambda c: c["loss"].update(weight=EVIL), f'loss.weight="{EVIL}": {PLACE}'),
    "a home": (lambda c: c["loss"].update(weight="~root"), f'loss.weight="~root": {PLACE}'),
    "a section of its own": (lambda c: c["trainer"].update(root="evil"), "trainer.root=evil: no such key"),
    "another section": (lambda c: c.update(output={"root": "evil"}), "output: no such key"),
    "init_from": (lambda c: c["trainer"].update(init_from="evil/copy"), 'trainer.init_from="evil/copy": refused: a record can only name a run'),
    "init_from with dots": (lambda c: c["trainer"].update(init_from="../.."), 'trainer.init_from="../..": refused: a record can only name a run'),
    "init_from of another place": (lambda c: c["trainer"].update(init_from="evil/0123456789abcdef"), "trainer.init_from=0123456789abcdef: no such run in "),
    "no trainer": (lambda c: c.pop("trainer"), "config.yaml: trainer is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_record_decides_no_place(
    copy: Run, replay: Command, root: Path, untouched: Callable[[], bool], name: str
) -> None:
    change, says = ELSEWHERE[name]
    edit(copy, change)
    ended = replay("copy")
    assert ended.code == 2
    assert ended.err.startswith(says)
    assert ended.err.count("\n") == 1
    assert untouched()


def test_a_record_of_another_machine_is_replayed_here(
    copy: Run, replay: Command, root: Path
) -> None:
    there = {"data": {"root": str(root / "evil/data")}, "store": {"root": str(root / "evil/runs")}, "tracking": {"uri": f"sqlite:///{root}/evil.db", "enabled": True, "experiment": "evil"}}  # fmt: skip
    edit(copy, lambda c: [c[name].update(values) for name, values in there.items()])
    edit(copy, lambda c: c["trainer"].update(profile=True))
    edit_journal(copy, lambda events: events[0].update(config=copy.config()))
    before = contents(root)
    ended = replay("copy")
    assert (ended.code, ended.err) == (0, "")
    says = "not taken from the record, but from this machine's config: data.root, store.root, tracking.uri\n"
    assert says in ended.out
    assert contents(root) == before


def test_a_run_that_was_resumed_elsewhere_may_have_had_other_places(
    copy: Run, replay: Command, root: Path
) -> None:
    edit(copy, lambda c: c["data"].update(root=EVIL))
    edit_journal(
        copy,
        lambda e: e.insert(
            2, {"event": "resume", "time": 1, "epoch": 1, "provenance": e[0]["provenance"]}
        ),
    )
    assert replay("copy").code == 0


def test_own_classes_need_trust_and_their_places_come_from_here(
    train: Command, replay: Command, root: Path
) -> None:
    (root / "count").write_text("500")
    train(*SMALL, f"data.dataset._target_={HERE}.FromFile", "+data.dataset.path=count")
    run = only(root)
    ended = replay(run.id)
    assert ended.code == 2
    assert (
        f"data.dataset._target_={HERE}.FromFile: refused: only names in torch.nn, torch.optim, sweeplab are"
        in ended.err
    )
    assert (
        replay(run.id, "--trust", HERE).err
        == f'data.dataset.path="count": {PLACE}; give it: +data.dataset.path=...\n'
    )
    assert replay(run.id, "--trust", HERE, "+data.dataset.path=count").code == 0
    (root / "count").write_text("400")
    ended = replay("--trust", HERE, run.id, "+data.dataset.path=count")
    assert ended.code == 1
    assert "  data.digest: " in ended.err
    assert "  data.train: " in ended.err


def test_a_set_that_was_streamed_is_streamed_again_in_the_same_order(
    train: Command, replay: Command, root: Path
) -> None:
    train(
        *SMALL,
        f"data.dataset._target_={HERE}.OneByOne",
        "data.memory=0",
        "data.version=1",
        "data.buffer=20",
    )
    ended = replay(only(root).id, "--trust", HERE)
    assert "identical: 3 epochs" in ended.out, ended.err


@pytest.mark.parametrize("separator", [",", "\\t"])
def test_of_a_table_only_its_file_is_to_be_given(
    train: Command, replay: Command, root: Path, separator: str
) -> None:
    sign = separator.replace("\\t", "\t")
    rows = "".join(f"{i / 90}{sign}{i % 2}\n" for i in range(90))
    (root / "t.csv").write_text(f"a{sign}y\n{rows}")
    table = ("data=csv", "data.dataset.file=t.csv", "data.dataset.target=y")
    train(*table, f'data.dataset.separator="{separator}"', *SMALL[1:], "trainer.batch_size=16")
    assert (
        replay(only(root).id).err
        == f'data.dataset.file="t.csv": {PLACE}; give it: +data.dataset.file=...\n'
    )
    ended = replay(only(root).id, "+data.dataset.file=t.csv")
    assert "identical: 3 epochs" in ended.out, ended.err


# --- honest records that call a user's own functions

HONEST = """
import functools
import numpy as np
import torch
from dataclasses import dataclass
from torch import nn
from torch.utils.data import Dataset

def examples(n):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 64)).astype("float32"), rng.integers(0, 10, n)

class Pictures(Dataset):
    def __init__(self, transform):
        self.inputs, self.targets = (torch.from_numpy(each) for each in examples(300))
        self.transform = transform
    def __len__(self): return len(self.inputs)
    def __getitem__(self, i): return self.transform(self.inputs[i].reshape(1, 8, 8)), self.targets[i]

def sgd(params, lr, **how): return torch.optim.SGD(params, lr=2 * lr, **how)
def decay(epoch, rate): return rate**epoch
def schedule(optimizer, rate): return torch.optim.lr_scheduler.LambdaLR(optimizer, functools.partial(decay, rate=rate))
@torch.no_grad()
def act(x): return torch.tanh(x)
def smooth(amount): return nn.CrossEntropyLoss(label_smoothing=amount)

@dataclass
class Sizes:
    width: int = 8

class Net(nn.Sequential):
    def __init__(self, in_features, out_features, act=nn.ReLU, sizes=None):
        width = sizes.width if sizes else 8
        last = act() if isinstance(act, type) else nn.Identity()
        super().__init__(nn.Linear(in_features, width), last, nn.Linear(width, out_features))
        self.act = act if callable(act) and not isinstance(act, type) else None
    def forward(self, x):
        y = super().forward(x)
        return y if self.act is None else y + self.act(y)
    @classmethod
    def small(cls, in_features, out_features): return cls(in_features, out_features)
@functools.lru_cache
def width(): return 6
def build(in_features, out_features): return Net(in_features, out_features, sizes=Sizes(width()))

class Share:
    def reset(self): self.right = self.seen = 0
    def update(self, output, target):
        self.right += int((output.argmax(1) == target).sum())
        self.seen += len(target)
    def compute(self): return self.right / self.seen
def share(): return Share()
"""
NET = ("model=linear", "model._target_=honest.Net")
LAMBDA = ("scheduler=constant", "scheduler._target_=torch.optim.lr_scheduler.LambdaLR", "~scheduler.factor", "~scheduler.total_iters")  # fmt: skip
INVERT = "+data.dataset.transform={_target_:torchvision.transforms.Normalize,mean:[0.5],std:[0.5]}"
PROGRAMS: dict[str, list[str]] = {
    "a function as data set": ["data.dataset._target_=honest.examples", "+data.dataset.n=300"],
    "a transform in a data set": ["data.dataset._target_=honest.Pictures", INVERT],
    "a function as optimizer": ["optimizer=sgd", "optimizer._target_=honest.sgd"],
    "a function in LambdaLR": [*LAMBDA, "+scheduler.lr_lambda={_target_:honest.decay,_partial_:true,rate:0.5}"],
    "a function as schedule": ["scheduler=constant", "scheduler._target_=honest.schedule", "~scheduler.factor", "~scheduler.total_iters", "+scheduler.rate=0.5"],
    "a metric": ["+metrics.share._target_=honest.Share"],
    "a function as metric": ["+metrics.share._target_=honest.share"],
    "get_method": [*NET, "+model.act={_target_:hydra.utils.get_method,path:honest.act}"],
    "get_class": [*NET, "+model.act={_target_:hydra.utils.get_class,path:torch.nn.Tanh}"],
    "a partial function": [*NET, "+model.act={_target_:honest.act,_partial_:true}"],
    "a class of no known kind": [*NET, "+model.sizes={_target_:honest.Sizes,width:5}"],
    "a class method": ["model=linear", "model._target_=honest.Net.small"],
    "a function as network": ["model=linear", "model._target_=honest.build"],
    "a function as loss": ["loss._target_=honest.smooth", "~loss.label_smoothing", "+loss.amount=0.1"],
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_honest_record_is_replayed_with_the_trust_that_its_refusal_names(
    train: Command, replay: Command, root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.syspath_prepend(root)
    (root / "honest.py").write_text(HONEST)
    sys.modules.pop("honest", None)
    assert (
        train(
            "data=digits", "model=linear", "trainer.threads=1", "trainer.epochs=2", *PROGRAMS[name]
        ).code
        == 0
    )
    run = only(root)
    refused = replay(run.id)
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    trusts = re.findall(r"--trust [\w.]+", refused.err)
    wanted = [
        "--trust honest",
        *(["--trust torchvision.transforms"] if "transform" in name else []),
    ]
    assert trusts == wanted
    ended = replay(run.id, *(word for trust in trusts for word in trust.split()))
    assert (ended.code, ended.err) == (0, "")
    assert "identical: 2 epochs, same weights" in ended.out
    sys.modules.pop("honest", None)


def test_trust_in_one_module_is_no_trust_in_what_it_imports(
    copy: Run,
    replay: Command,
    root: Path,
    untouched: Callable[[], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (root / "careless.py").write_text(
        "import os\nfrom os import system\nfrom torch import load\ndef fn(): pass\n"
    )
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import careless  # type: ignore[import-not-found]  # written above

    assert careless.fn() is None
    honest = copy.config_file.read_text()
    for path in (
        "careless.load",
        "careless.os.system",
        "careless.fn.__globals__",
        "careless.__builtins__.exec",
    ):
        for node in ({"_target_": path}, {"_target_": "hydra.utils.get_object", "path": path}):
            for where, wrap in WRAPPED.items():
                copy.config_file.write_text(honest)
                edit(copy, lambda c, wrap=wrap, node=node: wrap(c, node))  # type: ignore[misc]
                ended = replay("copy", "--trust", "careless")
                assert ended.code == 2, where
                assert ": refused: " in ended.err, where
                assert ended.err.count("\n") == 1, where
    del sys.modules["careless"]
