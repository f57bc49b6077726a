"""A run from the command line to its folder: what is trained, recorded, reused, refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import ready
import torch
from conftest import PROJECT, Command, can_mount
from faulty import Broken, Interrupting
from safetensors.torch import load_file

from sweeplab import load_model
from sweeplab.compare.groups import group_runs
from sweeplab.compare.runs import read_run
from sweeplab.errors import UserError
from sweeplab.replay import record
from sweeplab.runs import training
from sweeplab.store import Run, Store, repair
from sweeplab.tracking.view import View

HERE = __name__
DIGITS = ("data=digits", "trainer.threads=1")


def only_run(root: Path) -> Run:
    (run,) = Store(root / "runs").runs()
    return run


def sha256(root: Path) -> str:
    result = only_run(root).result()
    assert result is not None
    assert result.weights_sha256 is not None
    return result.weights_sha256


def test_a_run_that_fails_before_it_begins_is_failed_not_damaged(
    train: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object) -> None:
        raise OSError("this machine\nhas no driver")

    words = (*DIGITS, "model=linear", "trainer.epochs=1", "seed=1,2")
    with monkeypatch.context() as patched:
        patched.setattr(training, "build", build)
        ended = train("-m", *words)
    assert ended.code == 1
    assert "seed=1: failed: OSError: this machine has no driver\n" in ended.out
    assert "2 of 2 runs did not finish:\n  seed=1: failed, its log: " in ended.err
    for run in Store(root / "runs").runs():
        assert [event["event"] for event in run.journal.events()] == ["end"]
        assert run.history()[0] == run.result()
        assert repair.damage(run) is None
        with pytest.raises(
            UserError, match=rf"^{run.id}: is failed; only a finished run can be replayed$"
        ):
            record.read(run)
    view = View(Store(root / "runs"), f"sqlite:///{root}/mlflow.db")
    assert (view.jobs(), view.damaged) == ([], {})
    again = train("-m", *words)
    assert (again.code, again.err) == (0, "")
    for run in Store(root / "runs").runs():
        assert [event["event"] for event in run.journal.events()] == [
            "end",
            "start",
            "epoch",
            "end",
        ]
        assert run.status == "finished"


def test_a_journal_without_its_beginning_is_damaged(train: Command, root: Path) -> None:
    assert train(*DIGITS, "model=linear", "trainer.epochs=1").code == 0
    run = only_run(root)
    for kept in (2, 1):
        run.journal.path.write_bytes(
            b"".join(run.journal.path.read_bytes().splitlines(keepends=True)[-kept:])
        )
        assert repair.damage(run) == f"{run.journal.path}: is damaged: its beginning is missing"


def test_a_run_that_fails_in_its_first_epoch_cannot_be_replayed(train: Command, root: Path) -> None:
    Broken.calls = 0
    assert (
        train(*DIGITS, "model=linear", "model._target_=faulty.Broken", "trainer.epochs=1").code == 1
    )
    run = only_run(root)
    with pytest.raises(
        UserError, match=rf"^{run.id}: is failed; only a finished run can be replayed$"
    ):
        record.read(run)


def test_a_run_leaves_config_journal_result_and_weights(train: Command, root: Path) -> None:
    ended = train(*DIGITS, "model.hidden=32", "trainer.epochs=3")
    assert ended.code == 0, ended.err
    run = only_run(root)
    events = run.journal.events()
    assert [e["event"] for e in events] == ["start", "epoch", "epoch", "epoch", "end"]
    assert [e["epoch"] for e in events[1:-1]] == [1, 2, 3]
    assert set(events[1]["metrics"]) == {
        "train/loss",
        "train/accuracy",
        "train/lr",
        "valid/loss",
        "valid/accuracy",
    }
    assert events[0]["fingerprint"][:16] == run.id
    assert events[0]["provenance"]["threads"] == 1
    assert events[0]["data"]["train"] == 1319
    result = run.result()
    assert result is not None
    assert (result.status, result.stop_reason) == ("finished", "max_epochs")
    assert set(result.metrics) == {
        "test/loss", "test/accuracy", "best_epoch", "early_stop_epoch", "parameters", "examples_per_second", "seconds",
    }  # fmt: skip
    assert result.metrics["parameters"] == 64 * 32 + 32 + 2 * 32 + 32 * 10 + 10
    assert result.metrics["early_stop_epoch"] == 3
    assert run.config()["model"]["hidden"] == 32
    assert sorted(result.overrides) == ["data=digits", "model.hidden=32", "tracking=off", "trainer.epochs=3", "trainer.threads=1"]  # fmt: skip
    assert set(load_file(run.weights_file)) >= {"0.weight", "0.bias", "3.weight"}
    assert sorted(p.name for p in root.iterdir()) == ["runs"]


def test_the_screen_shows_layers_epochs_and_the_result(train: Command) -> None:
    shown = train(*DIGITS, "model.hidden=32", "trainer.epochs=2").out
    assert "[B, 32]" in shown
    assert "epoch   2/2  train/loss" in shown
    assert "early-stop epoch      2 (max_epochs)" in shown
    assert "tracking is off" in shown


def test_a_finished_run_is_shown_and_not_trained_again(train: Command, root: Path) -> None:
    arguments = (*DIGITS, "model.hidden=32", "trainer.epochs=2")
    train(*arguments)
    journal = only_run(root).journal.path.read_bytes()
    again = train(*arguments, "trainer.device=cpu")
    assert again.code == 0
    assert "is finished already: reused from" in again.out
    assert "test accuracy" in again.out
    assert only_run(root).journal.path.read_bytes() == journal


def test_the_same_config_gives_the_same_bits_and_another_seed_others(
    train: Command, root: Path
) -> None:
    seen = []
    for seed, folder in ((0, "a"), (0, "b"), (1, "c")):
        train(
            *DIGITS, "model.dropout=0.2", "trainer.epochs=2", f"seed={seed}", f"store.root={folder}"
        )
        (run,) = Store(root / folder).runs()
        result = run.result()
        assert result is not None
        seen.append((result.weights_sha256, run.epochs()))
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[2][0]


@pytest.mark.parametrize(
    ("overrides", "reason", "last"),
    [
        (["trainer.epochs=30", "trainer.patience=1", "optimizer.lr=0.0"], "patience", 2),
        (["trainer.epochs=30", "trainer.target=0.5"], "target", 1),
        (["trainer.epochs=30", "trainer.time_limit=0.000001"], "time_limit", 1),
        (["trainer.epochs=2"], "max_epochs", 2),
    ],
)
def test_a_run_stops_for_a_reason(
    train: Command, root: Path, overrides: list[str], reason: str, last: int
) -> None:
    train(*DIGITS, *overrides)
    result = only_run(root).result()
    assert result is not None
    assert (result.stop_reason, result.metrics["early_stop_epoch"]) == (reason, last)


def test_a_run_that_diverges_is_recorded_as_such(train: Command, root: Path) -> None:
    ended = train(*DIGITS, "loss=mse", "optimizer=sgd", "optimizer.lr=1e30", "model=linear")
    assert ended.code == 0
    result = only_run(root).result()
    assert result is not None
    assert (result.status, result.stop_reason, result.weights_sha256) == (
        "finished",
        "diverged",
        None,
    )
    assert set(result.metrics) == {
        "early_stop_epoch",
        "parameters",
        "examples_per_second",
        "seconds",
    }
    assert result.metrics["early_stop_epoch"] == 1
    line = only_run(root).journal.path.read_text().splitlines()[1]
    assert (
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))["epoch"]
        == 1
    )


def test_the_best_weights_are_tested_and_kept(train: Command, root: Path) -> None:
    train(
        *DIGITS, "model.hidden=16", "trainer.epochs=12", "trainer.patience=3", "optimizer.lr=0.05"
    )
    run = only_run(root)
    result, epochs = run.result(), run.epochs()
    assert result is not None
    best = max(epochs, key=lambda n: (epochs[n]["valid/accuracy"], -n))
    assert result.metrics["best_epoch"] == best
    assert load_model(run.folder, root / "runs")(torch.zeros(1, 64)).shape == (1, 10)


def test_an_operation_that_is_not_reproducible_is_refused_and_the_way_out_works(
    train: Command, root: Path
) -> None:
    how = (*DIGITS, "trainer.epochs=1", "model=linear", "model._target_=faulty.Nondeterministic")
    ended = train(*how)
    assert ended.code == 1
    assert "does not have a deterministic implementation" in ended.err
    assert "\ntrainer.deterministic=false allows this operation" in ended.err
    assert train(*how, "trainer.deterministic=false").code == 0


def test_a_run_that_raises_is_failed_and_names_its_log(train: Command, root: Path) -> None:
    Broken.calls = 0
    ended = train(*DIGITS, "model=linear", "model._target_=faulty.Broken")
    run = only_run(root)
    assert ended.code == 1
    assert "failed: RuntimeError: no more" in ended.err
    assert str(run.log_file) in ended.err
    assert "Traceback" not in ended.err
    assert 'raise RuntimeError("no more")' in run.log_file.read_text()
    assert run.status == "failed"
    assert run.journal.events()[-1]["error"] == "RuntimeError: no more"
    assert train(*DIGITS, "model=linear", "model._target_=faulty.Broken").code == 0, (
        "trained from the start"
    )
    assert run.status == "finished"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_end_a_run_as_interrupted(
    train: Command, root: Path, number: signal.Signals, code: int
) -> None:
    Interrupting.calls, Interrupting.number = 0, number
    ended = train(*DIGITS, "model=linear", "model._target_=faulty.Interrupting")
    assert ended.code == code
    assert "issue the same command again" in ended.err
    assert only_run(root).status == "interrupted"
    last = only_run(root).journal.events()[-1]
    assert (last["event"], last["status"], last["stop_reason"]) == (
        "end",
        "interrupted",
        "interrupted",
    )


@pytest.mark.parametrize("model", ["linear", "mlp", "cnn"])
def test_the_networks_of_the_readme_learn_digits(train: Command, root: Path, model: str) -> None:
    assert train(*DIGITS, f"model={model}", "trainer.epochs=8", "optimizer.lr=0.01").code == 0
    result = only_run(root).result()
    assert result is not None
    assert result.metrics["test/accuracy"] > 0.9


def test_nll_gives_the_numbers_of_cross_entropy(train: Command, root: Path) -> None:
    epochs = []
    for loss in ("cross_entropy", "nll"):
        train(*DIGITS, f"loss={loss}", "trainer.epochs=3", f"store.root={loss}")
        epochs.append(Store(root / loss).runs()[0].epochs())
    for one, other in zip(epochs[0].values(), epochs[1].values(), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_mse_regresses_diabetes_better_than_its_mean(train: Command, root: Path) -> None:
    assert (
        train(
            "data=diabetes",
            "loss=mse",
            "trainer.threads=1",
            "trainer.epochs=40",
            "trainer.batch_size=32",
        ).code
        == 0
    )
    result = only_run(root).result()
    assert result is not None
    assert result.metrics["test/loss"] < 0.85  # targets have the variance 1
    assert (
        30 < result.metrics["test/mae"] < 60
    )  # in the target's own unit, whose standard deviation is 77


def test_the_error_of_a_regression_is_in_the_unit_of_its_targets(
    train: Command, root: Path
) -> None:
    fixed = (
        "data=diabetes",
        "loss=mse",
        "trainer.threads=1",
        "trainer.epochs=2",
        "trainer.batch_size=32",
    )
    train(
        "-m", *fixed, "data.target_std=1,77.005746", "optimizer.lr=1e-12", "model.batch_norm=false"
    )
    errors = [run.epochs()[1]["valid/mae"] for run in Store(root / "runs").runs()]
    assert errors[0] != errors[1], "what is learned is not the same"
    assert errors[0] == pytest.approx(errors[1], rel=0.1), (
        "but both are about the spread of the targets"
    )


def test_mse_on_classes_learns_against_one_hot_targets(train: Command, root: Path) -> None:
    assert train(*DIGITS, "loss=mse", "trainer.epochs=8").code == 0
    result = only_run(root).result()
    assert result is not None
    assert result.metrics["test/accuracy"] > 0.9


def test_a_metric_of_the_users_own_is_measured_and_can_be_monitored(
    train: Command, root: Path
) -> None:
    share = ("+metrics.share._target_=own.Share", "trainer.monitor=valid/share", "trainer.mode=max")
    train(*DIGITS, *share, "trainer.epochs=2")
    run = only_run(root)
    assert all(m["valid/share"] == m["valid/accuracy"] for m in run.epochs().values())
    result = run.result()
    assert result is not None
    assert result.metrics["test/share"] == result.metrics["test/accuracy"]


def test_debug_smoke_takes_two_batches_and_one_epoch(train: Command, root: Path) -> None:
    assert train(*DIGITS, "debug=smoke").code == 0
    result = only_run(root).result()
    assert result is not None
    assert result.metrics["early_stop_epoch"] == 1
    assert result.metrics["examples_per_second"] * result.metrics["seconds"] >= 256


def test_debug_overfit_brings_one_batch_to_zero_loss(train: Command, root: Path) -> None:
    assert train(*DIGITS, "debug=overfit").code == 0
    result = only_run(root).result()
    assert result is not None
    assert result.stop_reason == "target"
    assert result.metrics["test/accuracy"] == 1.0


def test_debug_profile_leaves_a_table_and_a_trace(train: Command, root: Path) -> None:
    ended = train(*DIGITS, "debug=profile")
    assert ended.code == 0
    folder = only_run(root).folder / "profile"
    assert "aten::addmm" in (folder / "table.txt").read_text()
    assert json.loads((folder / "trace.json").read_text())["traceEvents"]
    assert "aten::addmm" in ended.out


@pytest.mark.parametrize("overrides", [["trainer.precision=bf16"], ["trainer.clip_norm=0.1"], ["scheduler=one_cycle"], ["scheduler=plateau"], ["scheduler=cosine"], ["optimizer=sgd"], ["optimizer=adamw"], ["data.flatten=false", "model=cnn"]])  # fmt: skip
def test_every_way_to_train_finishes_and_learns(
    train: Command, root: Path, overrides: list[str]
) -> None:
    assert train(*DIGITS, "trainer.epochs=4", *overrides).code == 0
    epochs = only_run(root).epochs()
    assert epochs[4]["train/loss"] < epochs[1]["train/loss"]


def _ensure_counted_by_class(run: Run) -> None:
    """A classification says by itself what it gets right by class."""
    found = json.loads((run.folder / "metrics" / "test_by_class.json").read_text())
    matrix = torch.tensor(found["confusion_matrix"])
    result = run.result()
    assert result is not None
    assert matrix.sum() == 359
    assert matrix.trace() / 359 == pytest.approx(result.metrics["test/accuracy"])
    assert found["accuracy"][4] == pytest.approx(matrix[4, 4] / matrix[4].sum())


def test_load_model_gives_the_trained_network_back(train: Command, root: Path) -> None:
    train(*DIGITS, "trainer.epochs=2")
    run = only_run(root)
    _ensure_counted_by_class(run)
    for name in (run.id, run.id[:6], str(run.folder)):
        model = load_model(name)
        assert not model.training
        weights = load_file(run.weights_file)
        assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    with pytest.raises(UserError, match="no such run in"):
        load_model("0000")
    run.weights_file.unlink()
    with pytest.raises(
        UserError, match=r"its weights were removed; sweeplab replay [0-9a-f]+ puts them back"
    ):
        load_model(run.id)


def test_flipped_weights_do_not_load(train: Command, root: Path) -> None:
    train(*DIGITS, "trainer.epochs=2")
    run = only_run(root)
    content = run.weights_file.read_bytes()
    run.weights_file.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    with pytest.raises(
        UserError, match=f"^{run.weights_file}: is damaged: these are not the weights"
    ):
        load_model(run.id)


def test_a_network_that_is_not_what_the_journal_says_does_not_load(
    train: Command, root: Path
) -> None:
    train(*DIGITS, "trainer.epochs=2", "model.dropout=0.25")
    run = only_run(root)
    run.config_file.write_text(
        run.config_file.read_text().replace("dropout: 0.25", "dropout: 0.26")
    )
    with pytest.raises(
        UserError, match=f"^{run.config_file}: is damaged: its model is not the one"
    ):
        load_model(run.id)
    run.config_file.write_text("{")
    with pytest.raises(UserError, match=f"^{run.config_file}: is damaged: "):
        load_model(run.id)


READ_ONLY = "mount --bind runs runs && mount -o remount,ro,bind runs"


@can_mount
@pytest.mark.full
def test_a_store_that_can_only_be_read_is_read(train: Command, root: Path) -> None:
    one = (*DIGITS, "trainer.epochs=2")
    table = train(*one).out.splitlines()
    run = only_run(root)
    train("-m", *one, "seed=1,2")

    def reading(*words: str) -> subprocess.CompletedProcess[str]:
        program = (
            ["-m", "sweeplab.commands.cli"]
            if words[0] != "train.py"
            else [str(PROJECT / "train.py")]
        )
        command = [sys.executable, "--apart", READ_ONLY, *program, *words[words[0] == "train.py" :]]
        environment = {
            name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"
        }
        return ready.run(
            command, cwd=root, env=environment, capture_output=True, text=True, check=False
        )

    def contents() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in root.glob("runs/**/*")}

    before = contents()
    again = reading("train.py", *one)
    assert (again.returncode, again.stderr) == (0, "")
    assert [line.strip() for line in again.stdout.splitlines() if "test accuracy" in line] == [
        line.strip() for line in table if "test accuracy" in line
    ]
    assert "cannot be written, and nothing is sent to MLflow" in again.stdout
    swept = reading("train.py", "-m", *one, "seed=1,2")
    assert (swept.returncode, swept.stderr) == (0, "")
    assert "2 runs of 1 config: 2 finished" in swept.stdout
    for words in (
        ["runs"],
        ["compare"],
        ["compare", "--json"],
        ["replay", run.id],
        ["ui", "--help"],
    ):
        done = reading(*words)
        assert (done.returncode, done.stderr) == (0, ""), words
    for words in (["train.py", *one, "seed=9"], ["sync"]):
        refused = reading(*words)
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"store.root={root}/runs: {root}/runs cannot be written")
        assert len(refused.stderr.splitlines()) == 1
    assert contents() == before


def test_nothing_of_hydra_is_left_behind(train: Command, root: Path) -> None:
    train(*DIGITS, "debug=smoke")
    assert not [
        name
        for name in ("outputs", "multirun", ".hydra", "train.log", "multirun.yaml")
        if (root / name).exists()
    ]


@pytest.mark.filterwarnings("always:its weights are old:UserWarning")
def test_pythons_warnings_are_in_the_log_of_the_run(train: Command, root: Path) -> None:
    with pytest.warns(UserWarning, match="its weights are old"):
        ended = train(*DIGITS, "model=linear", "model._target_=own.Warns", "trainer.epochs=1")
    assert ended.code == 0, ended.err
    assert "UserWarning: its weights are old" in only_run(root).log_file.read_text()
    assert warnings.showwarning.__module__ != "sweeplab.runs.recording"


SECRET = "correct-horse"  # noqa: S105  # of nothing
GUARDED = (
    *DIGITS,
    "model=linear",
    "model._target_=own.Guarded",
    f"+model.password={SECRET}",
    "trainer.epochs=1",
)


def written(root: Path, secret: str) -> list[str]:
    """The files below `root` in which the secret stands."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return [path.name for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.parametrize("says", ["log", "raise"])
def test_a_secret_is_neither_said_nor_written_whatever_repeats_it(
    train: Command, root: Path, says: str
) -> None:
    ended = train(*GUARDED, f"+model.says={says}")
    assert ended.code == (1 if says == "raise" else 0), ended.err
    assert SECRET not in ended.out + ended.err
    assert written(root, SECRET) == []
    run = only_run(root)
    assert "own: logged in with *** (sha256 9dca666e)\n" in run.log_file.read_text()
    assert "  password: '*** (sha256 9dca666e)'\n" in run.config_file.read_text()
    assert "+model.password=*** (sha256 9dca666e)" in run.overrides_file.read_text()
    if says == "raise":
        assert (
            run.journal.events()[-1]["error"]
            == "RuntimeError: no access with *** (sha256 9dca666e)"
        )
        assert "failed: RuntimeError: no access with *** (sha256 9dca666e)" in ended.err


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (f"model.password={SECRET}", "model.password=*** (sha256 9dca666e): no such key; valid: "),
        (
            f"+trainer.password={SECRET}",
            "trainer.password=*** (sha256 9dca666e): no such key; valid: ",
        ),
        (f"--password={SECRET}", "--password=*** (sha256 9dca666e): no such option of train.py"),
        (f"model.password=[{SECRET}", "model.password=*** (sha256 e2cbd847): cannot be read: "),
        (f"+model={{password: {SECRET}}}", ""),
        (f"trainer={{password: {SECRET}}}", ""),
        (f"tracking.uri=nowhere://me:{SECRET}@h trainer.epochs={SECRET}", "trainer.epochs="),
        (f"-m model.password={SECRET},x", "model.password=*** (sha256 9dca666e): no such key"),
    ],
)
def test_no_message_repeats_a_secret(train: Command, root: Path, wrong: str, says: str) -> None:
    ended = train(*(wrong.split() if wrong.startswith(("-m", "tracking")) else [wrong]))
    assert ended.code == 2, ended.out
    assert SECRET not in ended.out + ended.err
    assert ended.err.startswith(says)
    assert list(root.iterdir()) == []


def test_control_characters_of_a_value_do_not_reach_the_terminal(
    train: Command, root: Path
) -> None:
    ended = train("model.activation='\x1b[31mre\u202elu'")
    assert ended.code == 2
    assert r"\x1b[31mre\u202elu" in ended.err
    assert "\x1b" not in ended.err


def test_settings_called_like_secrets_stay_and_secrets_have_to_be_given(
    train: Command, root: Path
) -> None:
    for value in ("true", "3", "cls", "false"):
        assert train(*GUARDED, f"+model.class_token={value}").code == 0
    runs = Store(root / "runs").runs()
    assert [run.config()["model"]["class_token"] for run in runs] == [True, 3, "cls", False]
    key = "model.password"
    with pytest.raises(
        UserError,
        match=rf"^{key}=\*\*\* \(sha256 9dca666e\): its value is a secret, .* give it: load_m",
    ):
        load_model(runs[1].id)
    with pytest.raises(UserError, match=rf"^{key}: what is given is not the value of the record"):
        load_model(runs[1].id, given={key: "another"})
    models = [load_model(run.id, given={key: SECRET}) for run in runs]
    assert [model.class_token for model in models] == [True, 3, "cls", False]
    assert [model.password for model in models] == [SECRET] * 4


@pytest.mark.full
def test_configs_with_other_secrets_stay_apart(
    train: Command, command: Command, home: Store, root: Path
) -> None:
    words = [*GUARDED[:-2], "+model.password=first-one,second-one", "trainer.epochs=1"]
    ended = train("-m", *words)
    assert ended.code == 0, ended.err
    assert "password=*** (sha256 fa44385b)" in ended.out
    groups = group_runs(read_run(run) for run in home.runs())
    assert sorted(one.values["model.password"] for one in groups) == [
        "*** (sha256 00bf267c)",
        "*** (sha256 fa44385b)",
    ]
    for run in home.runs():
        run.journal.append("track", experiment="sweeplab")
    assert command("sweeplab", "sync", loaded=True).code == 0
    assert written(root, "mlflow.runName") == ["mlflow.db"], "what is written to MLflow is found"
    assert written(root, "first-one") == written(root, "second-one") == []


@pytest.mark.mnist
def test_a_known_set_may_be_streamed(train: Command, root: Path, mnist_root: Path) -> None:
    how = ("trainer.limit_batches=2", "trainer.epochs=1", "model.hidden=8", "trainer.threads=1")
    assert train(f"data.root={mnist_root}", "data.memory=1", *how).code == 0
