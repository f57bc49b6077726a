"""An interrupted run goes on as if nothing had happened: the same bits, each epoch once, wherever it was stopped."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Command
from own import Centres, Odd
from safetensors.torch import load_file
from stored import facts, only

from sweeplab import load_model
from sweeplab.runs import checkpoint, training
from sweeplab.runs.weights import weights_sha256
from sweeplab.store import Run, Store
from sweeplab.train import device
from sweeplab.train.state import snapshot

WHOLE = ("data=digits", "trainer.threads=1", "trainer.epochs=5", "trainer.patience=null")
EACH = "trainer.checkpoint_every=0"  # a checkpoint after each epoch
BITS = ("model.dropout=0.2", "scheduler=one_cycle", "trainer.precision=bf16")


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Cut the next run off in its fourth epoch: `stop("save")`, before its checkpoint; or at its end, in `finish`."""

    def at(name: str, error: BaseException | None = None) -> None:
        attribute = f"_{name}"
        place = training if name == "finish" else training.Training
        original = getattr(place, attribute)

        def die(cut_off: training.Training, *arguments: object) -> object:
            if cut_off.epoch == 4 or name == "finish":
                monkeypatch.setattr(place, attribute, original)
                raise error or KeyboardInterrupt
            return original(cut_off, *arguments)

        monkeypatch.setattr(place, attribute, die)

    return at


OPTIMIZED = (
    "trainer.batch_size=32",
    "trainer.accumulate=4",
    "trainer.ema=0.9",
    "trainer.precision=fp16",
    "trainer.freeze=[0.bias]",
    "scheduler=warmup_cosine",
    "optimizer.groups={*.bias:{weight_decay:0.1},BatchNorm1d.*:{lr:0.01}}",
)


def test_a_resumed_run_goes_on_with_its_average_its_groups_and_its_scale(
    train: Command, root: Path, stop: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    scaler = torch.amp.GradScaler
    # A scale that the first ten updates halve
    monkeypatch.setattr(device, "GradScaler", lambda kind: scaler(kind, init_scale=2.0**30))
    assert train(*WHOLE, *OPTIMIZED, "store.root=whole").code == 0
    stop("save")
    assert train(*WHOLE, *OPTIMIZED).code == 130
    assert "goes on after epoch 3" in train(*WHOLE, *OPTIMIZED).out
    assert facts(only(root)) == facts(only(root, "whole"))


@pytest.mark.few(1)
@pytest.mark.parametrize("point", ["save", "journal", "finish"])
def test_resumed_equals_uninterrupted(
    train: Command, root: Path, stop: Callable[..., None], point: str
) -> None:
    train(*WHOLE, *BITS, "store.root=whole")
    stop(point)
    assert train(*WHOLE, *BITS).code == 130
    assert only(root).status == "interrupted"
    again = train(*WHOLE, *BITS)
    assert again.code == 0
    assert f"goes on after epoch {5 if point == 'finish' else 3}" in again.out
    assert facts(only(root)) == facts(only(root, "whole"))
    events = [e["event"] for e in only(root).journal.events()]
    assert events.count("epoch") == 5
    assert events.count("start") == 1
    assert "differs" not in events


def test_the_kept_weights_are_those_of_the_best_epoch_whatever_min_delta_is(
    train: Command, root: Path, stop: Callable[..., None]
) -> None:
    train(*WHOLE, "store.root=plain")
    stop("save")
    assert train(*WHOLE, "trainer.min_delta=0.5").code == 130
    train(*WHOLE, "trainer.min_delta=0.5")
    accuracies = {epoch: values["valid/accuracy"] for epoch, values in only(root).epochs().items()}
    best = max(accuracies, key=accuracies.__getitem__)
    assert accuracies[best] < accuracies[1] + 0.5, "or min_delta would decide nothing here"
    result = only(root).result()
    assert result is not None
    assert result.metrics["best_epoch"] == best > 1
    assert facts(only(root)) == facts(only(root, "plain"))


def test_a_run_keeps_the_epoch_that_reached_its_target(train: Command, root: Path) -> None:
    train("data=digits", "trainer.threads=1", "trainer.target=0.94", "trainer.min_delta=0.1")
    result = only(root).result()
    assert result is not None
    assert result.stop_reason == "target"
    assert result.metrics["best_epoch"] == result.metrics["early_stop_epoch"] > 1


def test_a_resumed_run_draws_on_from_torch_random_and_numpy(
    train: Command, root: Path, stop: Callable[..., None]
) -> None:
    drawing = (*WHOLE, "model=linear", "model._target_=own.Drawing")
    train(*drawing, "store.root=whole")
    stop("save")
    train(*drawing)
    assert train(*drawing).code == 0
    assert facts(only(root)) == facts(only(root, "whole"))
    train(*drawing, "store.root=again")
    assert facts(only(root, "again")) == facts(only(root, "whole")), "seeded, not only continued"


REMEMBERING = {
    "network": ("model._target_=own.Remembering",),
    "loss": ("~loss", "+loss._target_=own.RememberingLoss"),
    "optimizer": ("~optimizer", "+optimizer._target_=own.RememberingSGD", "+optimizer.lr=0.01"),
    "metric": ("+metrics.share._target_=own.RememberingShare",),
}


@pytest.mark.parametrize("part", REMEMBERING)
def test_a_resumed_run_has_the_plain_attributes_and_generators_of_its_parts(
    train: Command, root: Path, stop: Callable[..., None], part: str
) -> None:
    how = (*WHOLE, "model=linear", *REMEMBERING[part])
    assert train(*how, "store.root=whole").code == 0
    stop("save")
    assert train(*how).code == 130
    assert "goes on after epoch 3" in train(*how).out
    assert facts(only(root)) == facts(only(root, "whole"))


def test_a_checkpoint_of_another_run_is_not_gone_on_from(
    train: Command, root: Path, stop: Callable[..., None]
) -> None:
    train(*WHOLE, "seed=1", "store.root=whole")
    stop("save")
    train(*WHOLE, EACH, "seed=2", "store.root=other")
    stop("save")
    train(*WHOLE, EACH, "seed=1")
    for name in ("2.pt", "3.pt"):
        shutil.copy(only(root, "other").checkpoints / name, only(root).checkpoints / name)
    again = train(*WHOLE, "seed=1")
    assert again.code == 0
    assert f"this checkpoint is of run {only(root, 'other').id}; it is left aside" in again.err
    assert facts(only(root)) == facts(only(root, "whole"))


DATA = {
    "held": ("data.dataset._target_=own.DrawnDigits",),
    "streamed": ("data.dataset._target_=own.NoisyDigits", "+data.dataset.count=300"),
    "large": (
        "data.dataset._target_=own.NoisyDigits",
        "+data.dataset.count=300",
        "data.memory=0",
        "data.version=1",
    ),
}


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["held", "streamed", "large"])
def test_a_resumed_run_equals_an_undisturbed_one_on_data_that_draw(
    train: Command, root: Path, stop: Callable[..., None], kind: str
) -> None:
    drawing = (
        *WHOLE,
        *DATA[kind],
        "model=linear",
        "model._target_=own.Drawing",
        "trainer.batch_size=50",
    )
    assert train(*drawing, "store.root=whole").code == 0
    for workers in ("data.workers=0", "data.workers=2"):
        folder = workers.replace(".", "_").replace("=", "_")
        stop("save")
        assert train(*drawing, workers, f"store.root={folder}").code == 130
        assert "goes on after epoch 3" in train(*drawing, workers, f"store.root={folder}").out
        assert facts(only(root, folder)) == facts(only(root, "whole"))
        assert "is finished already" in train(*drawing, workers, f"store.root={folder}").out


def test_a_set_that_is_another_one_each_time_it_is_built_is_refused(
    train: Command, root: Path
) -> None:
    for more in ((), ("-m", "seed=0,1"), ("data.memory=0", "data.version=1")):
        ended = train(*more, *WHOLE, "data.dataset._target_=own.FickleDigits")
        assert ended.code == 2
        message = r"^data\.dataset: the set's digest was \w{12} when the run was planned, and is \w{12} now: it has"
        assert re.search(message, ended.err, re.MULTILINE), ended.err
        assert "Traceback" not in ended.err
        assert not (root / "runs").exists()


@pytest.mark.parametrize(("name", "told"), [("NoisyDigits", False), ("WornDigits", True)])
def test_a_set_that_reading_changes_is_complained_of(train: Command, name: str, told: bool) -> None:
    how = (
        *WHOLE,
        f"data.dataset._target_=own.{name}",
        "+data.dataset.count=300",
        "trainer.batch_size=50",
    )
    ended = train(*how, "model=linear")
    assert ended.code == 0
    assert (
        "data.dataset: the same seeds do not give the same examples any more" in ended.err
    ) is told


def test_the_last_two_checkpoints_are_kept_until_the_run_is_finished(
    train: Command, root: Path, stop: Callable[..., None]
) -> None:
    stop("save")
    train(*WHOLE, EACH)
    assert sorted(p.name for p in only(root).checkpoints.iterdir()) == ["2.pt", "3.pt"]
    train(*WHOLE)
    assert not only(root).checkpoints.exists()


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda _: b"",
        lambda c: b"x" + c[1:],
        lambda c: (
            c[: len(c) // 2] + bytes([c[len(c) // 2] ^ 64]) + c[len(c) // 2 + 1 :]
        ),  # among the weights
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(
    train: Command, root: Path, stop: Callable[..., None], damage: Callable[[bytes], bytes]
) -> None:
    train(*WHOLE, "store.root=whole")
    stop("save")
    train(*WHOLE, EACH)
    file = only(root).checkpoints / "3.pt"
    file.write_bytes(damage(file.read_bytes()))
    again = train(*WHOLE)
    assert f"{file}: this checkpoint is damaged" in again.err
    assert "goes on after epoch 2" in again.out
    assert facts(only(root)) == facts(only(root, "whole"))


def test_without_any_checkpoint_the_run_starts_again_and_is_compared(
    train: Command, root: Path, stop: Callable[..., None]
) -> None:
    train(*WHOLE, "store.root=whole")
    stop("save")
    train(*WHOLE)
    only(root).drop_checkpoints()
    assert train(*WHOLE).err == ""
    assert facts(only(root)) == facts(only(root, "whole"))


def test_an_epoch_that_comes_out_otherwise_is_reported(
    train: Command, root: Path, stop: Callable[..., None]
) -> None:
    erratic = ("model=linear", "model._target_=own.Erratic")
    stop("save")
    train(*WHOLE, *erratic)
    only(root).drop_checkpoints()
    again = train(*WHOLE, *erratic)
    assert "epoch 1 was trained again, and train/loss is" in again.err
    assert "something in this run is not deterministic" in again.err
    differs = [e for e in only(root).journal.events() if e["event"] == "differs"]
    assert (differs[0]["epoch"], differs[0]["metric"]) == (1, "train/loss")


def test_a_torn_last_line_is_cut_off(train: Command, root: Path, stop: Callable[..., None]) -> None:
    train(*WHOLE, "store.root=whole")
    stop("save")
    train(*WHOLE)
    with only(root).journal.path.open("ab") as file:
        file.write(b'{"time": 1.0, "event": "epo')
    train(*WHOLE)
    assert facts(only(root)) == facts(only(root, "whole"))


def test_the_recorded_number_of_threads_is_used(
    train: Command, root: Path, stop: Callable[..., None]
) -> None:
    stop("save")
    train(*WHOLE)
    train(*WHOLE, "trainer.threads=2")
    (resumed,) = [e for e in only(root).journal.events() if e["event"] == "resume"]
    assert resumed["provenance"]["threads"] == 1


def test_a_full_disk_ends_the_run_with_one_message_and_it_goes_on_later(
    train: Command, root: Path
) -> None:
    train(*WHOLE, "store.root=whole")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (500_000, before[1])
    )  # the journal fits, a checkpoint does not
    try:
        ended = train(*WHOLE, EACH)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert ended.code == 1
    assert "had to stop: OSError: [Errno 27] File too large" in ended.err
    assert "make room and issue the same command again" in ended.err
    assert "Traceback" not in ended.err
    assert only(root).status == "interrupted"
    assert train(*WHOLE).code == 0
    assert facts(only(root)) == facts(only(root, "whole"))


@pytest.mark.few(1)
@pytest.mark.parametrize("error", [MemoryError("none left"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), torch.OutOfMemoryError("none left")])  # fmt: skip
def test_what_the_machine_lacks_interrupts_a_run_and_does_not_fail_it(
    train: Command, root: Path, stop: Callable[..., None], error: Exception
) -> None:
    stop("save", error)
    assert train(*WHOLE).code == 1
    assert only(root).status == "interrupted"
    assert "goes on after epoch 3" in train(*WHOLE).out


def test_a_failed_run_is_trained_from_the_start(
    train: Command, root: Path, stop: Callable[..., None]
) -> None:
    stop("save", ValueError("a bug"))
    assert train(*WHOLE).code == 1
    assert only(root).status == "failed"
    assert "goes on" not in train(*WHOLE).out
    assert [e["event"] for e in only(root).journal.events()].count("start") == 2
    assert only(root).status == "finished"


def test_a_run_starts_from_the_weights_of_another(train: Command, root: Path) -> None:
    train(*WHOLE)
    first = only(root)
    ended = train(*WHOLE, f"trainer.init_from={first.id}", "trainer.epochs=1")
    assert ended.code == 0
    (second,) = [run for run in Store(root / "runs").runs() if run.id != first.id]
    assert second.epochs()[1]["train/loss"] < first.epochs()[2]["train/loss"]
    by_folder = train(*WHOLE, f"trainer.init_from={first.folder}", "trainer.epochs=1")
    assert "is finished already" in by_folder.out, (
        "the weights are hashed, not where they came from"
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.init_from=0123"], "trainer.init_from=0123: no such run in "),
        (
            ["trainer.init_from=RUN", "model.hidden=8"],
            "0.weight: the network has [8, 64], the run [392, 64]",
        ),
        (
            ["trainer.init_from=RUN", "model=linear"],
            "weight: the network has [10, 64], the run none",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    train: Command, root: Path, overrides: list[str], message: str
) -> None:
    train(*WHOLE)
    name = only(root).id
    ended = train(*WHOLE, *(o.replace("RUN", name) for o in overrides))
    assert ended.code == 2
    assert message in ended.err


def test_a_run_without_weights_cannot_be_started_from(train: Command, root: Path) -> None:
    train("data=digits", "loss=mse", "optimizer=sgd", "optimizer.lr=1e30", "model=linear")
    ended = train(*WHOLE, f"trainer.init_from={only(root).id}")
    assert (ended.code, ended.err.rstrip()) == (
        2,
        f"trainer.init_from={only(root).id}: that run has no weights; it is finished",
    )


def test_reuse_any_takes_what_other_code_has_finished(
    train: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(*WHOLE)
    monkeypatch.setattr("sweeplab.targets.hashing.NUMERICS", 99)
    said = train(*WHOLE, "store.reuse=any").out
    assert "is finished already" in said
    assert "(store.reuse=any: sweeplab's own numerics changed since)" in " ".join(said.split())
    assert "is finished already" not in train(*WHOLE).out
    assert len(Store(root / "runs").runs()) == 2


def test_a_run_killed_between_its_journals_end_and_its_result_is_finished(
    train: Command, root: Path
) -> None:
    train(*WHOLE)
    run = only(root)
    before, journal = run.result(), run.journal.path.read_bytes()
    run.result_file.unlink()
    again = train(*WHOLE)
    assert again.code == 0
    assert run.result() == before
    assert run.journal.path.read_bytes() == journal, "nothing is tested a second time"


CENTRES = (
    "model.hidden=16",
    "loss._target_=own.Centres",
    "~loss.label_smoothing",
    "+loss.classes=10",
)


def test_a_loss_is_trained_counted_kept_and_switched_as_the_network_is(
    train: Command, root: Path
) -> None:
    Centres.modes = []
    assert train(*WHOLE, *CENTRES).code == 0
    run = only(root)
    result, weights = run.result(), load_file(run.weights_file)
    assert result is not None
    network = sum(parameter.numel() for parameter in load_model(run.folder).parameters())
    assert result.metrics["parameters"] == network + 10 * 10 + 1
    assert weights[".loss.scale"].item() != 1.0, "trained"
    best = int(result.metrics["best_epoch"])
    assert weights[".loss.seen"].item() == best * (1319 // 128) * 128, (
        "the buffer is that of the best epoch"
    )
    steps = 1319 // 128
    trained, evaluated = Centres.modes.count(True), Centres.modes.count(False)
    assert (trained - 5 * steps, evaluated) == (1, 6), (
        "besides one trial: 5 epochs of steps, 5 validations and a test"
    )


def test_a_loss_with_a_state_goes_on_from_its_checkpoint(
    train: Command, root: Path, stop: Callable[..., None]
) -> None:
    train(*WHOLE, *CENTRES, "store.root=whole")
    for point in ("save", "finish"):
        stop(point)
        assert train(*WHOLE, *CENTRES).code == 130
    assert train(*WHOLE, *CENTRES).code == 0
    assert facts(only(root)) == facts(only(root, "whole"))


def test_a_loss_starts_from_the_weights_of_a_run_with_the_same_loss_alone(
    train: Command, root: Path
) -> None:
    train(*WHOLE, *CENTRES)
    first = only(root)
    again = (
        *WHOLE,
        f"trainer.init_from={first.id}",
        "trainer.epochs=1",
        "optimizer.lr=0",
        "store.root=runs",
    )
    for loss in (CENTRES, ("model.hidden=16",)):
        assert train(*again, *loss).code == 0
    same, other = (r for r in Store(root / "runs").runs() if r.id != first.id)
    if ".loss.scale" not in load_file(same.weights_file):
        same, other = other, same
    before, after = load_file(first.weights_file), load_file(same.weights_file)
    assert torch.equal(after[".loss.centres"], before[".loss.centres"])
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert not [name for name in load_file(other.weights_file) if "loss" in name]


def test_the_layer_table_has_a_row_for_a_loss_with_parameters(train: Command) -> None:
    shown = train(*WHOLE, *CENTRES, "trainer.epochs=1").out
    (row,) = [line for line in shown.splitlines() if "Centres" in line and "loss" in line]
    assert "101" in row


def stopped_beside_a_whole_one(train: Command, root: Path, stop: Callable[..., None]) -> Run:
    """Train the run to its end in the store `whole`, and in the root's up to its fourth epoch."""
    train(*WHOLE, "store.root=whole")
    stop("save")
    train(*WHOLE)
    return only(root)


def test_a_damaged_journal_is_set_aside_and_the_run_begins_anew(
    train: Command, root: Path, stop: Callable[..., None]
) -> None:
    run = stopped_beside_a_whole_one(train, root, stop)
    content = run.journal.path.read_bytes()
    run.journal.path.write_bytes(content.replace(b'"epoch": 2', b'"epoch": 7'))
    again = train(*WHOLE)
    assert again.code == 0
    assert (
        f"{run.journal.path}: is damaged: line 3: its content does not fit its checksum"
        in again.err
    )
    assert f"run {run.id} begins anew" in again.err
    assert facts(run) == facts(only(root, "whole"))
    assert (run.folder / "damaged" / "journal.jsonl").exists()
    assert not (run.folder / "damaged" / "checkpoints").exists(), "the run is finished"


def test_a_journal_that_lost_an_epoch_that_a_checkpoint_has_begins_anew(
    train: Command, root: Path, stop: Callable[..., None]
) -> None:
    run = stopped_beside_a_whole_one(train, root, stop)
    run.journal.path.write_bytes(
        b"".join(run.journal.path.read_bytes().splitlines(keepends=True)[:3])
    )
    again = train(*WHOLE)
    assert (
        f"{run.journal.path}: is damaged: epoch 3 is missing; run {run.id} begins anew" in again.err
    )
    assert facts(run) == facts(only(root, "whole"))


@pytest.mark.parametrize("gone", ["journal.jsonl", ".", ".."])
def test_what_vanishes_during_training_ends_it_with_one_line(
    train: Command, root: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    def remove(folder: Path, _: object) -> None:
        place = folder.parent / gone
        shutil.rmtree(place.resolve()) if place.is_dir() else place.unlink()

    monkeypatch.setattr(checkpoint, "save", remove)
    ended = train(*WHOLE, EACH)
    monkeypatch.undo()
    monkeypatch.chdir(root)
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1
    assert re.search(
        r"run [0-9a-f]{16} \(.*\) had to stop: .*journal\.jsonl has vanished; issue the same",
        ended.err,
    )
    assert not list(root.glob("runs/*/journal.jsonl"))
    assert train(*WHOLE).code == 0


def test_flipped_weights_are_not_started_from(train: Command, root: Path) -> None:
    train(*WHOLE)
    run = only(root)
    content = run.weights_file.read_bytes()
    run.weights_file.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    ended = train(*WHOLE, f"trainer.init_from={run.id}", "trainer.epochs=1")
    assert ended.code == 2
    assert ended.err.startswith(
        f"trainer.init_from={run.id}: {run.weights_file}: is damaged: these are not the weights"
    )
    assert len(ended.err.splitlines()) == 1


ODD = (*WHOLE, "model._target_=own.Odd", "model=linear")


def test_a_network_with_an_odd_state_is_trained_resumed_and_loaded(
    train: Command, root: Path, stop: Callable[..., None]
) -> None:
    ended = train(*ODD, "store.root=whole")
    assert ended.code == 0, ended.err
    whole = only(root, "whole")
    assert whole.weights_file.name == "weights.pt"
    model = load_model(whole.folder)
    assert isinstance(model, Odd)
    result = whole.result()
    assert result is not None
    best = int(result.metrics["best_epoch"])
    assert model.calls["forward"] == len(model.bank)
    assert model.calls["forward"] >= best * (1319 // 128)
    assert weights_sha256(snapshot(model)) == result.weights_sha256
    for point in ("save", "finish"):
        stop(point)
        assert train(*ODD).code == 130
    assert train(*ODD).code == 0
    assert facts(only(root)) == facts(whole)
    assert (
        train(
            *ODD, f"trainer.init_from={whole.folder}", "trainer.epochs=1", "store.root=third"
        ).code
        == 0
    )


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_a_lazy_network_is_trained_and_resumed(
    train: Command, root: Path, stop: Callable[..., None]
) -> None:
    lazy = (*WHOLE, "model._target_=own.Lazy", "model=linear", "optimizer=sgd")
    assert train(*lazy, "store.root=whole").code == 0
    stop("save")
    assert train(*lazy).code == 130
    assert train(*lazy).code == 0
    assert facts(only(root)) == facts(only(root, "whole"))


def test_a_metric_that_draws_goes_on_where_it_was(
    train: Command, root: Path, stop: Callable[..., None]
) -> None:
    drawing = (*WHOLE, "model.dropout=0.2", "+metrics.share._target_=own.NoisyShare")
    assert train(*drawing, "store.root=whole").code == 0
    for point in ("save", "finish"):
        stop(point)
        assert train(*drawing).code == 130
    assert train(*drawing).code == 0
    assert facts(only(root)) == facts(only(root, "whole"))
