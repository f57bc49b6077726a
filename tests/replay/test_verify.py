"""Runs of a sweep, drawn at random and trained again: what is false is found, and what that tells of the rest."""

from __future__ import annotations

import json
import math
import random
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Command, Ended, Write, ended, unsealed

from sweeplab.commands import cli
from sweeplab.replay import replay as replaying
from sweeplab.replay import verification
from sweeplab.store import Run, Store, write_json
from sweeplab.store.files import read_json
from sweeplab.store.journal import written

SWEEP = (
    "-m", "data=digits", "model=linear", "trainer.threads=1", "trainer.epochs=2",
    "optimizer.lr=0.01,0.02", "seed=0,1,2",
)  # fmt: skip
Node = dict[str, Any]
_made: dict[str, bytes] = {}


@pytest.fixture
def verify(
    root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    """`sweeplab verify latest ...` in this process."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*words: str, sweep: str = "latest") -> Ended:
        return ended(lambda: cli.main(["verify", sweep, *words]), capfd)

    yield run
    import torch

    torch.use_deterministic_algorithms(False)


@pytest.fixture
def swept(root: Path, train: Command) -> Store:
    """A sweep of two configs under three seeds each, which is trained once for all tests."""
    if not _made:
        trained = train(*SWEEP)
        assert trained.code == 0, trained.err
        files = [file for file in (root / "runs").rglob("*") if file.is_file()]
        _made.update({str(file.relative_to(root)): file.read_bytes() for file in files})
    for name, content in _made.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return Store(root / "runs")


def a_run(home: Store) -> tuple[Run, str]:
    """A run of the sweep, and the seed that draws it first."""
    sweep = home.manifests()[-1]
    run = home.run(sorted(cell["fingerprint"] for cell in sweep["cells"])[2])
    for seed in range(1000):
        drawn = verification.draw(home, sweep, 1, seed).cells[0]
        if run.id == drawn["fingerprint"][:16]:
            return run, str(seed)
    raise AssertionError


def rewrite(run: Run, change: Callable[[list[Node]], object]) -> None:
    """Change the journal, and write its checksums anew, as somebody would who means it."""
    events = run.journal.events()
    change(events)
    run.journal.path.write_bytes(b"".join(written(event) for event in events))


def rewrite_result(run: Run, **changes: Any) -> None:
    """Change result.json, and write its digest anew."""
    result = read_json(run.result_file)
    result["metrics"] |= changes.pop("metrics", {})
    write_json(run.result_file, result | changes)


def contents(home: Store) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in home.root.rglob("*") if file.is_file()}


# --- as recorded


def test_runs_that_are_as_recorded_say_how_many_of_the_rest_can_be_otherwise(
    swept: Store, verify: Command
) -> None:
    before = contents(swept)
    done = verify("--sample", "4")
    assert (done.code, done.err) == (0, "")
    assert re.match(
        r"sweep [0-9a-f]{12}: 6 finished runs, 4 drawn at random \(again by --seed \d+\)\n",
        done.out,
    )
    assert "\n1 of 4: " in done.out, "its progress is shown"
    assert done.out.endswith(
        "of 4 drawn, 4 looked at: 4 identical\n"
        "bit for bit, 4 of 4 came out as recorded\n"
        "so at most 2 of 6 runs (33 %) would come out otherwise\n"
        "(95 %, one-sided; exact, by the hypergeometric distribution)\n"
    )
    assert contents(swept) == before


def test_for_scripts_all_that_is_known_is_on_stdout_and_a_seed_draws_the_same(
    swept: Store, verify: Command
) -> None:
    first, again = (verify("--sample", "2", "--seed", "7", "--json") for _ in range(2))
    assert first.code == 0
    assert first.out == again.out
    assert "1 of 2: " in first.err, "progress"
    result = json.loads(first.out)
    assert list(result) == [
        "sweep", "seed", "finished", "not_finished", "drawn", "runs", "bound",
    ]  # fmt: skip
    assert (result["seed"], result["finished"], result["drawn"]) == (7, 6, 2)
    assert [run["verdict"] for run in result["runs"]] == ["identical", "identical"]
    assert result["bound"] == {"wrong_at_most": 4, "of": 6, "confidence": 0.95}


@pytest.mark.full
def test_runs_that_diverged_or_failed_are_taken_as_what_they_are(
    root: Path, train: Command, verify: Command
) -> None:
    ran = train(
        *("-m", "data=digits", "model=linear", "loss=mse", "optimizer=sgd", "trainer.threads=1"),
        *("trainer.epochs=2", "optimizer.lr=0.01,1e30"),
    )
    assert ran.code == 0, ran.err
    done = verify()
    assert (done.code, done.err) == (0, "")
    assert "of 2 drawn, 2 looked at: 2 identical" in done.out
    run = Store(root / "runs").runs()[0]
    rewrite(run, lambda events: events[-1].update(status="failed"))
    rewrite_result(run, status="failed")
    done = verify()
    assert "1 finished run, 1 drawn" in done.out
    assert "not drawn from: 1 run (failed)\n" in done.out


# --- what is false


FALSE: dict[str, Callable[[Run], object]] = {
    "a metric of an epoch": lambda run: rewrite(
        run, lambda e: e[1]["metrics"].update({"train/loss": math.nextafter(e[1]["metrics"]["train/loss"], 9)})
    ),
    "a test metric": lambda run: (
        rewrite(run, lambda e: e[-1]["metrics"].update({"test/accuracy": 0.99})),
        rewrite_result(run, metrics={"test/accuracy": 0.99}),
    ),
    "the digest of the weights": lambda run: (
        rewrite(run, lambda e: e[-1].update(weights_sha256="0" * 64)),
        rewrite_result(run, weights_sha256="0" * 64),
        run.weights_file.unlink(),
    ),
    "why it stopped": lambda run: (
        rewrite(run, lambda e: e[-1].update(stop_reason="patience")),
        rewrite_result(run, stop_reason="patience"),
    ),
    "the data": lambda run: rewrite(run, lambda e: e[0]["data"].update(digest="0" * 64)),
    "a size of the data": lambda run: rewrite(run, lambda e: e[0]["data"].update(train=1)),
    "what was asked": lambda run: rewrite(run, lambda e: e[0]["asked"].update(seed=9)),
    "its code": lambda run: rewrite(run, lambda e: e[0]["code"].update(numerics="5")),
    "its config in the journal": lambda run: rewrite(
        run, lambda e: e[0]["config"]["trainer"].update(patience=9)
    ),
    "config.yaml": lambda run: run.config_file.write_text(
        yaml.safe_dump(run.config() | {"seed": 9})
    ),
    "what stops it, in config.yaml": lambda run: run.config_file.write_text(
        run.config_file.read_text().replace("patience: 5", "patience: 6")
    ),
    "result.json": lambda run: rewrite_result(run, metrics={"test/accuracy": 0.99}),
    "its weights": lambda run: run.weights_file.write_bytes(
        run.weights_file.read_bytes()[:-1] + b"\x7f"
    ),
    "a digit, with the checksum as it was": lambda run: run.journal.path.write_bytes(
        re.sub(rb'("train/loss": \d\.\d)\d', rb"\g<1>x", run.journal.path.read_bytes(), count=1)
    ),
    "an end that is not there": lambda run: run.journal.path.write_bytes(
        run.journal.path.read_bytes().rpartition(b'{"time')[0]
    ),
}  # fmt: skip


@pytest.mark.few(6)
@pytest.mark.parametrize("what", FALSE)
def test_what_is_false_is_found_whenever_its_run_is_drawn(
    swept: Store, verify: Command, what: str
) -> None:
    run, seed = a_run(swept)
    before = contents(swept)
    FALSE[what](run)
    assert contents(swept) != before
    done = verify("--sample", "1", "--seed", seed)
    assert done.code == 1, done.out
    assert f"1 of 1: {run.id}: differs\n  " in done.out
    if what == "a metric of an epoch":
        assert "\n  nothing that was recorded explains it\n" in done.out
    assert "of 1 drawn, 1 looked at: 1 differs\n" in done.out
    assert "so at least 1 and at most 6 of 6 runs (100 %) would come out otherwise" in done.out


@pytest.mark.full
def test_any_digit_of_what_was_computed_is_found(swept: Store, verify: Command) -> None:
    run, seed = a_run(swept)
    honest = run.journal.path.read_bytes()
    tried = random.Random(0)
    for _ in range(60):
        lines = honest.splitlines()
        number = tried.choice([1, 2, len(lines) - 1])
        begin = lines[number].index(b'"test/' if number > 2 else b'"metrics"')
        end = lines[number].index(b', "crc"' if number > 2 else b', "seconds"')
        shown = lines[number][begin:end]
        place = tried.choice([digit.start() for digit in re.finditer(rb"\d", shown)])
        other = str((int(shown[place : place + 1]) + tried.randrange(1, 10)) % 10).encode()
        before = lines[number]
        lines[number] = before.replace(shown, shown[:place] + other + shown[place + 1 :])
        run.journal.path.write_bytes(b"\n".join(lines) + b"\n")
        found = [verify("--sample", "1", "--seed", seed)]
        with suppress(ValueError):  # 01.5 is no number
            if json.loads(before)["metrics"] == json.loads(lines[number])["metrics"] and number < 3:
                continue  # of 17 digits the last one may make no other number
            run.journal.path.write_bytes(unsealed(run.journal.path.read_bytes()))
            rewrite(run, lambda _: None)
            found.append(verify("--sample", "1", "--seed", seed))
        for done in found:
            is_refused = (
                done.code == 2 and f"{run.id}: journal.jsonl is not that of a run" in done.err
            )
            is_found = done.code == 1 and f"1 of 1: {run.id}: differs\n" in done.out
            assert is_found or is_refused, (before, lines[number])


@pytest.mark.full
def test_code_that_was_edited_since_is_named_where_bits_differ(
    root: Path, train: Command, verify: Command, write: Write
) -> None:
    text = "from torch import nn\n\n\nclass Net(nn.Linear):\n    def forward(self, x):\n        return super().forward(x)\n"
    write({"edited.py": text})
    own = ("model=linear", "model._target_=edited.Net", "trainer.threads=1", "trainer.epochs=1")
    assert train("-m", "data=digits", *own, "seed=0,1").code == 0
    (root / "edited.py").write_text("# the same\n" + text)
    assert verify("--trust", "edited").code == 0
    (root / "edited.py").write_text(text.replace("forward(x)", "forward(2 * x)"))
    sys.modules.pop("edited")
    done = verify("--trust", "edited")
    assert done.code == 1
    assert (
        done.out.count("  the code: sweeplab's own (NUMERICS), or that of the record's classes\n")
        == 2
    )
    assert done.out.count('  code.edited: "') == 2


@pytest.mark.full
def test_runs_with_a_secret_or_a_time_limit_and_resumed_ones_are_trained_as_replay_does(
    root: Path, train: Command, verify: Command, die_at: Callable[[int], None]
) -> None:
    base = ("data=digits", "trainer.threads=1", "trainer.checkpoint_every=0")
    guarded = ("model=linear", "model._target_=own.Guarded", "+model.password=correct-horse")
    limited = ("trainer.time_limit=0.000001", "trainer.epochs=3", "scheduler=one_cycle")
    assert train("-m", *base, *guarded, *limited, "seed=0,1").code == 0
    die_at(2)
    again = ("-m", *base, "model=linear", "trainer.epochs=3", "seed=0")
    assert train(*again).code == 130
    assert train(*again).code == 0
    done = verify("--trust", "own")
    assert (done.code, done.err) == (0, "")
    sweep = Store(root / "runs").manifests()[0]["id"]
    done = verify("--trust", "own", sweep=sweep)
    assert done.code == 2
    assert (
        "its value is a secret, which the record hides; give it: '+model.password=...'" in done.err
    )
    done = verify("--trust", "own", "+model.password=correct-horse", sweep=sweep)
    assert (done.code, done.err) == (0, "")
    assert "2 identical" in done.out


# --- what cannot be told


def test_what_cannot_be_trained_is_named_and_counts_for_nothing(
    swept: Store, verify: Command, root: Path
) -> None:
    run, _ = a_run(swept)
    run.config_file.unlink()
    done = verify("--sample", "6", "--json")
    assert done.code == 1
    result = json.loads(done.out)
    (refused,) = [each for each in result["runs"] if each["verdict"] != "identical"]
    assert refused["verdict"] == "not trained"
    assert refused["said"] == [
        f"{run.id}: has no config.yaml; a record is a config.yaml and a journal.jsonl"
    ]
    assert result["bound"] == {"wrong_at_most": 0, "of": 5, "confidence": 0.95}
    assert "1 of 6 runs" in done.err


def test_an_unpacked_sweep_is_run_only_if_its_classes_are_trusted(
    root: Path, train: Command, verify: Command, write: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    write({"handed.py": "from torch import nn\n\n\nclass Net(nn.Linear):\n    '''A layer.'''\n"})
    own = ("model=linear", "model._target_=handed.Net", "trainer.threads=1", "trainer.epochs=1")
    assert train("-m", "data=digits", *own, "seed=0,1", "store.root=away").code == 0
    for words in (
        ("pack", "latest", "--output", "x.tgz", "store.root=away"),
        ("unpack", "x.tgz", "tracking=off"),
    ):
        done = ended(lambda words=words: cli.main(words), capfd)  # type: ignore[misc]
        assert done.code == 0, done.err
    (root / "handed.py").write_text("raise SystemExit('imported')")
    sys.modules.pop("handed", None)
    done = verify()
    assert done.code == 2
    assert "handed.Net: refused" in done.err
    assert "training" not in done.out
    (root / "handed.py").unlink()
    done = verify("--trust", "handed")
    assert (done.code, done.err) == (0, "")
    assert "2 identical" in done.out


def elsewhere(home: Store) -> None:
    """Let all runs have been trained on another CPU, with other rounding."""
    for run in home.runs():
        rewrite(run, lambda e: e[0]["provenance"].update(cpu="Another CPU"))
        rewrite(run, lambda e: e[1]["metrics"].update({"train/loss": 2.5}))


def test_where_bits_cannot_be_had_results_are_held_against_the_spread_of_the_seeds(
    swept: Store, verify: Command
) -> None:
    elsewhere(swept)
    done = verify("--sample", "2", "--seed", "1")
    assert (done.code, done.err) == (0, "")
    first, said, *_ = done.out.splitlines()[1:]
    assert first == "of 2 runs equal bits cannot be expected here:"
    assert said.startswith('  cpu: "Another CPU" then, "')
    assert done.out.count(": agrees\n") == 2
    assert re.search(
        r"  valid/accuracy: 0\.\d+ then, 0\.\d+ now; by 2 other seeds they may differ by 0\.\d+\n",
        done.out,
    )
    assert "come out otherwise" not in done.out, "of bits nothing is known"
    run, seed = a_run(swept)
    far = {"valid/accuracy": 9.9}
    rewrite(run, lambda e: [line["metrics"].update(far) for line in e if line["event"] == "epoch"])
    done = verify("--sample", "1", "--seed", seed)
    assert done.code == 1
    assert f"1 of 1: {run.id}: disagrees\n  valid/accuracy: 9.900000 then" in done.out


def test_without_other_seeds_nothing_is_told_of_another_cpu(swept: Store, verify: Command) -> None:
    elsewhere(swept)
    run, seed = a_run(swept)
    learning_rate = run.config()["optimizer"]["lr"]
    for other in swept.runs():
        if other.id != run.id and other.config()["optimizer"]["lr"] == learning_rate:
            (other.folder).rename(swept.root / f"{other.id}.away")
    seeds = (str(s) for s in range(99))
    sweep = swept.manifests()[-1]
    seed = next(s for s in seeds if verification.draw(swept, sweep, 1, int(s)).cells[0]["fingerprint"][:16] == run.id)  # fmt: skip
    done = verify("--sample", "1", "--seed", seed)
    assert done.code == 1
    assert (
        f"1 of 1: {run.id}: cannot be told\n  its bits differ, and the store has no 2 other"
        in done.out
    )
    assert "not drawn from: 2 runs (unfinished)" in done.out


def test_ctrl_c_says_what_is_known_so_far(
    swept: Store, verify: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(9))
    retrain = replaying.retrain

    def interrupted(*args: Any, **how: Any) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return retrain(*args, **how)

    monkeypatch.setattr(replaying, "retrain", interrupted)
    done = verify("--sample", "4", "--seed", "3")
    assert (done.code, done.err) == (130, "interrupted: --seed 3 draws the same runs again\n")
    assert "of 4 drawn, 2 looked at: 2 identical\n" in done.out
    assert "so at most 4 of 6 runs (67 %)" in done.out


def test_bad_input_is_one_message(root: Path, verify: Command, swept: Store) -> None:
    for words, message in {
        ("--sample", "0"): "--sample=0: must be a whole number >= 1\n",
        ("trainer.epochs=3",): "trainer.epochs=3: replay trains what the record says; only ",
        (
            "store.root=nowhere",
        ): f"no sweep in {root}/nowhere (there is no such folder) yet; as in: ",
    }.items():
        done = verify(*words)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(message)
        assert done.err.count("\n") == 1
