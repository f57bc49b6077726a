"""What a journal says: read as far as it has grown, by the one reader that all others ask."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path

import pytest

from sweeplab.store import DamagedError, Event, History, Journal, Status


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


def start(journal: Journal, **fields: object) -> None:
    journal.append(
        Event.START, fingerprint="f" * 64, question="0" * 64, overrides=["seed=0"], **fields
    )


def add(journal: Journal, text: str) -> None:
    with journal.path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_a_journal_that_is_not_there_says_nothing(journal: Journal) -> None:
    history = History.of(journal)
    assert (history.count, history.status, history.has_begun) == (0, Status.UNFINISHED, False)
    assert (history.start, history.end, history.provenance, history.epochs, history.metrics) == (
        {},
        {},
        {},
        {},
        {},
    )
    assert (history.threads, history.best_epoch, history.error, history.result) == (
        None,
        None,
        None,
        None,
    )
    with pytest.raises(FileNotFoundError):
        history.read()


def test_a_run_from_its_start_to_its_end(journal: Journal) -> None:
    start(journal, provenance={"threads": 2}, experiment="mnist", sweep="5e")
    journal.append(Event.EPOCH, epoch=1, metrics={"valid/loss": 0.5})
    journal.append(Event.RESUME, epoch=1, provenance={"threads": 1})
    journal.append(Event.EPOCH, epoch=1, metrics={"valid/loss": 0.75})
    journal.append(Event.EPOCH, epoch=2, metrics={"valid/loss": 0.25})
    history = History.of(journal)
    assert not history.has_ended
    assert history.result is None
    assert history.epochs == {1: {"valid/loss": 0.5}, 2: {"valid/loss": 0.25}}
    assert (history.threads, history.was_resumed, history.sweep) == (1, True, "5e")
    metrics = {"best_epoch": 2, "test/loss": float("nan")}
    journal.append(
        Event.END, status="finished", stop_reason="patience", metrics=metrics, weights_sha256="ab"
    )
    journal.append(Event.TRACK, experiment="again")
    assert history.read()
    assert (history.status, history.has_ended, history.best_epoch, history.error) == (
        "finished",
        True,
        2,
        None,
    )
    assert (list(history.experiments), list(history.tracked)) == (["mnist"], ["again"])
    result = history.result
    assert result is not None
    assert (result.fingerprint, result.question, result.status) == (
        "f" * 64,
        "0" * 64,
        Status.FINISHED,
    )
    assert (result.stop_reason, result.weights_sha256, result.overrides) == (
        "patience",
        "ab",
        ["seed=0"],
    )
    assert str(result.metrics) == "{'best_epoch': 2.0, 'test/loss': nan}"


def test_a_run_that_is_begun_again_has_not_ended(journal: Journal) -> None:
    start(journal, name="first")
    journal.append(
        Event.END, status="failed", stop_reason=None, metrics={}, error="ValueError: no\nnumber"
    )
    history = History.of(journal)
    assert (history.status, history.error) == (Status.FAILED, "ValueError: no number")
    start(journal, name="second")
    assert history.read()
    assert (history.status, history.error, history.end) == (Status.UNFINISHED, None, {})
    assert (history.first_start["name"], history.start["name"]) == ("first", "second")
    assert history.started_at == history.first_start["time"]


def test_ends_that_came_too_early_are_no_beginning(journal: Journal) -> None:
    journal.append(Event.END, status="failed", stop_reason=None, metrics={}, error="KeyError: 'x'")
    history = History.of(journal)
    assert (history.has_begun, history.has_ended, history.result) == (False, True, None)


def test_a_model_is_that_of_the_latest_training(journal: Journal) -> None:
    start(journal)
    journal.append(Event.MODEL)
    assert History.of(journal).has_model
    start(journal)
    assert not History.of(journal).has_model


def test_a_torn_line_is_read_when_it_is_whole(journal: Journal) -> None:
    start(journal)
    history = History.of(journal)
    add(journal, '{"time": 1, "event": "epoch", ')
    assert history.read()
    assert history.count == 1
    add(journal, '"epoch": 3, "metrics": {}}\n')
    assert history.read()
    assert (history.count, history.lines[-1]["epoch"]) == (2, 3)
    assert not history.read()


def test_the_line_of_an_epoch_is_checked_at_once_and_parsed_when_it_is_looked_at(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(journal)
    for epoch, loss in ((1, 0.5), (2, math.nan), (2, 0.3), (3, 0.25)):
        journal.append(Event.EPOCH, epoch=epoch, metrics={"valid/loss": loss})
    parsed: list[str] = []
    monkeypatch.setattr(
        json, "loads", lambda text: parsed.append(text) or json.JSONDecoder().decode(text)
    )
    history = History.of(journal)
    assert (list(history.epochs), len(parsed)) == ([1, 2, 3], 1), "the start alone"
    epochs = history.epochs
    assert (epochs[3], epochs[3], len(parsed)) == ({"valid/loss": 0.25}, {"valid/loss": 0.25}, 2)
    assert math.isnan(epochs[2]["valid/loss"]), "of a repeated epoch the first line counts"
    assert [line["event"] for line in history.lines] == ["start", *["epoch"] * 4]
    assert history.latest(Event.EPOCH)["metrics"] == {"valid/loss": 0.25}
    changed = journal.path.read_bytes().replace(b'"valid/loss": 0.25', b'"valid/loss": 0.26')
    journal.path.write_bytes(changed)
    with pytest.raises(DamagedError, match="line 5: its content does not fit its checksum"):
        History.of(journal)


def test_lines_that_were_forgotten_are_read_again(journal: Journal) -> None:
    start(journal)
    history = History.of(journal)
    history.forget()
    journal.append(Event.EPOCH, epoch=1, metrics={"valid/loss": 0.5})
    assert len(history.lines) == 1, "no more than was taken in"
    history.forget()
    assert history.read()
    assert (history.count, history.epochs) == (2, {1: {"valid/loss": 0.5}})


@pytest.mark.parametrize("replaced", [False, True])
def test_lines_that_are_not_wanted_take_no_memory(journal: Journal, replaced: bool) -> None:
    start(journal, name="x" * 1_000_000)
    history = History(journal)
    history.forget()
    if replaced:
        history.read()
        journal.path.rename(journal.path.with_name("aside"))
        start(Journal(journal.path), name="y" * 1_000_000)
    tracemalloc.start()
    history.read()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 100_000
    assert len(history.first_start["name"]) == 1_000_000, "read again"


def test_until_leaves_out_what_came_later(journal: Journal) -> None:
    start(journal)
    journal.append(Event.EPOCH, epoch=1, metrics={})
    journal.append(Event.END, status="finished", stop_reason="max_epochs", metrics={})
    whole = History.of(journal)
    assert (whole.until(2).count, whole.until(2).has_ended, whole.until(3).has_ended) == (
        2,
        False,
        True,
    )


def test_another_journal_in_its_place_is_read_from_the_beginning(journal: Journal) -> None:
    start(journal, experiment="old")
    history = History.of(journal)
    journal.path.rename(journal.path.with_name("aside"))
    start(Journal(journal.path), experiment="new")
    assert history.read()
    assert (history.count, list(history.experiments)) == (1, ["new"])


def test_a_damaged_line_is_named_at_each_look_until_it_is_mended(journal: Journal) -> None:
    start(journal)
    history = History.of(journal)
    size = journal.path.stat().st_size
    add(journal, '{"event": "end", "status": "no such"}\n')
    for _ in range(2):
        with pytest.raises(
            DamagedError,
            match=r"journal.jsonl: is damaged: line 2: 'no such' is not a valid Status",
        ):
            history.read()
    with journal.path.open("r+b") as file:
        file.truncate(size)
    journal.append(Event.EPOCH, epoch=1, metrics={})
    assert history.read()
    assert (history.count, list(history.epochs)) == (2, [1])
