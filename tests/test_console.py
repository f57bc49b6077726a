"""The screen: what users type is shown as it is, numbers are for people, nothing is cut where there is no terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from sweeplab import console
from sweeplab.compare.following import Working
from sweeplab.metrics import EpochResult
from sweeplab.runs import screen
from sweeplab.runs.screen import Layer, RunScreen
from sweeplab.sweep.screen import SweepScreen, bars

Shown = Callable[[], str]
RESULT = EpochResult(
    epoch=2,
    metrics={"train/loss": 0.25, "train/lr": 0.001, "valid/accuracy": 0.98125},
    examples=100,
    train_seconds=1.0,
    seconds=1.26,
)


def _record(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, width: int) -> Shown:
    file = StringIO()
    drawn = Console(file=file, force_terminal=terminal, width=width)
    monkeypatch.setattr(console, "screen", lambda: drawn)
    return file.getvalue


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What is shown where there is no terminal, of 40 columns if it had any."""
    return _record(monkeypatch, terminal=False, width=40)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What is sent to a terminal of 60 columns, without its control sequences."""
    shown = _record(monkeypatch, terminal=True, width=60)
    return lambda: re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown())


MARKUP = [
    "model.activation=[relu,tanh]",
    "a [/x] b",
    "[bold]not bold[/bold]",
    "runs:bug:1",
    "ends in \\",
    "C:\\[x]",
]


@pytest.mark.parametrize("text", MARKUP)
def test_a_line_is_shown_as_it_was_typed(plain: Shown, text: str) -> None:
    console.say(text)
    assert plain() == f"{text}\n"


@pytest.mark.parametrize("text", MARKUP)
def test_a_table_shows_everything_as_it_was_typed(plain: Shown, text: str) -> None:
    console.table(text, [text, "n"], [[text, "1"], ["2", text]])
    assert plain().count(f"{text} ") == 4


@pytest.mark.parametrize("text", MARKUP)
def test_a_result_shows_everything_as_it_was_typed(plain: Shown, text: str) -> None:
    screen.result(text, {text: text})
    assert plain().count(f"{text} ") == 3


@pytest.mark.parametrize("text", MARKUP)
def test_a_complaint_goes_to_stderr_as_it_was_typed(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    console.complain(text)
    assert capsys.readouterr() == ("", f"{text}\n")


def test_a_long_line_is_never_wrapped(plain: Shown) -> None:
    link = "x" * 200
    console.say(link)
    assert plain() == f"{link}\n"


def test_a_table_is_as_wide_as_it_needs_where_there_is_no_terminal(plain: Shown) -> None:
    path, value = "runs/" + "a" * 100, "0.9812 ± 0.0011"
    console.table("two runs", ["folder", *["metric"] * 5], [[path, *[value] * 5]])
    row = next(line for line in plain().splitlines() if path in line)
    assert row.split("  ")[1:-1][0] == path
    assert row.count(value) == 5
    assert "…" not in plain()


def test_numbers_stand_right_and_names_left(plain: Shown) -> None:
    console.table("", ["model", "n"], [["a", "1"], ["long name", "1,000"]])
    rows = [line.rstrip() for line in plain().splitlines() if line.strip()]
    assert rows == [
        "  model           n",
        " ───────────────────",
        "  a               1",
        "  long name   1,000",
    ]


def lines(shown: str) -> list[str]:
    return [line.rstrip() for line in shown.splitlines() if line.strip()]


def test_a_long_name_is_cut_in_the_middle_where_a_terminal_has_no_room(terminal: Shown) -> None:
    console.table(
        "", ["name", "n"], [["own_package.networks.residual." + "x" * 40 + ".Net", "1,000"]]
    )
    *_, row = lines(terminal())
    assert row == f"  own_package.networks.res…{'x' * 19}.Net   1,000"
    assert len(row) <= 60


def test_keys_have_the_room_that_numbers_leave_them(terminal: Shown) -> None:
    """Of 60 columns: keys are shortened, numbers broken at their brackets and headings."""
    columns = ("optimizer.lr", "model.batch_norm", "n", "best valid/accuracy")
    rows = [("0.001", "false", "14 of 20 (6 diverged)", "0.1918 ± 0.0914")]
    console.table("", columns, rows, left=2)
    heads, names, _, *values = lines(terminal())
    assert (heads.split(), names.split()) == (["best"], ["lr", "batch_norm", "n", "valid/accuracy"])
    assert values == [
        "  0.001   false            14 of 20   0.1918 ± 0.0914",
        "                       (6 diverged)",
    ]


def test_columns_are_left_out_in_order_and_named(terminal: Shown) -> None:
    columns = ["name", "size", "epochs", "best"]
    cells = ["a name of four words", "1" * 20, "2" * 20, "0.9"]
    console.table("", columns, [cells], spare=columns[1:], elsewhere="the report has them")
    assert lines(terminal()) == [
        "  name                                 epochs   best",
        " ────────────────────────────────────────────────────",
        "  a name of four words   22222222222222222222    0.9",
        "no room here for size; the report has them",
    ]


def test_rows_are_stacked_where_even_that_is_not_enough(terminal: Shown) -> None:
    keys = [f"model.key_{number}" for number in range(6)]
    console.table("sweep", [*keys, "n"], [["a" * 20] * 6 + ["3"], ["b" * 20] * 6 + ["4"]], left=6)
    shown = lines(terminal())
    assert shown[:2] == ["sweep", f"  model.key_0   {'a' * 20}"]
    assert shown[7:9] == ["  n             3", f"  model.key_0   {'b' * 20}"]


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(0, "epoch", "0 epochs"), (1, "more run", "1 more run"), (2000, "batch", "2,000 batches")],
)
def test_a_count_agrees_with_its_noun(number: int, noun: str, text: str) -> None:
    assert console.counted(number, noun) == text


def test_the_layer_table_adds_up_the_parameters(plain: Shown) -> None:
    rows = [
        Layer(name="0", kind="Linear", output="[B, 392]", parameters=307_720),
        Layer(name="1", kind="ReLU", output="[B, 392]", parameters=0),
        Layer(name="2", kind="Linear", output="[B, 10]", parameters=3_930),
    ]
    screen.layers("MLP", rows)
    lines = [line.split() for line in plain().splitlines()]
    assert ["0", "Linear", "[B,", "392]", "307,720"] in lines
    assert ["total", "311,650"] in lines


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 4, "-"),
        (0.98125, 4, "0.9812"),
        (0.0, 4, "0.0000"),
        (0.0001, 4, "0.0001"),
        (0.00001234, 4, "1.2e-05"),
        (-0.00001234, 4, "-1.2e-05"),
        (7.04, 1, "7.0"),
        (0.04, 1, "0.0"),
        (float("nan"), 4, "nan"),
        (float("inf"), 4, "inf"),
    ],
)
def test_a_number_for_people(value: float | None, digits: int, text: str) -> None:
    assert console.number(value, digits) == text


def test_a_command_is_named_as_this_shell_can_start_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    assert console.command("sweeplab ui") == "sweeplab ui"
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert console.command("sweeplab ui") == "uv run sweeplab ui"


def test_an_epoch_is_one_line_with_a_star_at_the_best(plain: Shown) -> None:
    with RunScreen(epochs=20, batches=10) as view:
        line = view.epoch(RESULT, best_epoch=2)
        assert line == "epoch   2/20  train/loss 0.2500  valid/accuracy 0.9812  1.3 s  *"
        assert view.epoch(RESULT, best_epoch=1) == line.removesuffix("  *")
    assert plain() == f"{line}\n{line.removesuffix('  *')}\n"


def test_a_quiet_screen_returns_the_line_for_the_log_alone(plain: Shown) -> None:
    with RunScreen(epochs=20, batches=10, bar=False, lines=False) as view:
        assert view.epoch(RESULT, best_epoch=1).startswith("epoch   2/20  train/loss 0.2500")
    assert plain() == ""


def test_batches_pass_through_unchanged_with_and_without_a_bar(terminal: Shown) -> None:
    for bar in (True, False):
        with RunScreen(epochs=2, batches=120, bar=bar) as view:
            assert list(view.batches(1, range(120))) == list(range(120))


def test_a_terminal_has_a_bar_of_all_batches(terminal: Shown) -> None:
    with RunScreen(epochs=3, batches=10) as view:
        list(view.batches(2, range(10)))
        assert view._progress is not None
        assert view._progress.tasks[0].completed == 20
        assert view._progress.tasks[0].total == 30
        assert view._progress.tasks[0].description == "epoch 2/3"
        view.epoch(RESULT, best_epoch=None)
    assert "train/loss 0.2500" in terminal()
    assert "20/30" in terminal()


def test_the_counts_of_a_sweep_fit_in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = _record(monkeypatch, terminal=True, width=80)
    with SweepScreen(total=6000, reused=1000, monitor="valid/accuracy", mode="max") as view:
        view.failed("one", final=True)
        view.show([])
    assert "0 finished, 1000 reused, 1 failed, 0 at work\n" in re.sub(
        r"\x1b\[[0-9;?]*[A-Za-z]", "", shown()
    )


def test_a_long_name_at_work_is_cut_and_no_word_of_it_is_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = _record(monkeypatch, terminal=True, width=80)
    name = "_target_=own_package.networks.Residual hidden=13 seed=0"
    run = Working(id="x", name=name, epoch=3, epochs=12, value=0.95, speed=8.4)
    console.show(bars([run], "valid/accuracy"))
    drawn = lines(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown()))
    assert drawn[1].startswith("_target_=own_…orks.Residual  ")
    assert drawn[2] == "hidden=13 seed=0"


def test_a_narrow_terminal_keeps_the_names_of_what_is_at_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = _record(monkeypatch, terminal=True, width=40)
    run = Working(
        id="x", name="seed=0 hidden=64", epoch=1348, epochs=100_000, value=0.95, speed=51.0
    )
    console.show(bars([run], "valid/accuracy"))
    drawn = lines(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown()))
    assert [line.rstrip() for line in drawn] == [
        "at work           epoch        left",
        "seed=0 hidden=64  1348/100000  32 min",
    ]


def test_waiting_is_silent_where_there_is_no_terminal(plain: Shown) -> None:
    with console.waiting("fetching"):
        pass
    assert plain() == ""


def test_waiting_is_told_on_a_terminal(terminal: Shown) -> None:
    with console.waiting("fetching [relu,tanh]"):
        pass
    assert "fetching [relu,tanh]" in terminal()


def test_an_address_is_a_link_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = _record(monkeypatch, terminal=True, width=20)
    console.say("curves: http://127.0.0.1:5000/#/x [red]as it is[/red]")
    assert "\x1b]8;id=" in shown()
    assert ";http://127.0.0.1:5000/#/x\x1b" in shown()
    assert "[red]as it is[/red]" in shown()
