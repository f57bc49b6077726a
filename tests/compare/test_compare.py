"""Comparisons, on stores written by hand: groups, ranking, differences, and that nothing is silently left out."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from compared import Node, add, cell, factorial, manifest, summarise, troubled, widths
from conftest import Command

from sweeplab import compare, config, store, tracking
from sweeplab.compare import experiment_page, export, tables, terminal
from sweeplab.compare.baseline import read as baseline_of
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.groups import TO_TARGET, group_runs, swept_keys
from sweeplab.compare.runs import Replica, read, share
from sweeplab.compare.target import bound
from sweeplab.config import from_text, to_text
from sweeplab.errors import UserError
from sweeplab.store import Run, Store

OFF = "tracking=off"


@pytest.fixture
def sweeplab(sweeplab: Command) -> Command:
    """`sweeplab compare ...`."""
    return lambda *arguments: sweeplab("compare", *arguments, OFF)


def names(found: compare.Comparison) -> list[str]:
    return [one.name for one in found.groups]


def test_only_what_is_the_same_to_the_last_type_is_shared(home: Store) -> None:
    found: dict[bytes, Node] = {}
    replicas = []
    for number, value in enumerate((1, 1.0, True, 1)):
        replica = Replica(id=str(number), cell=cell([f"seed={number}"]), status="finished")
        replica.start = {"asked": {"model": {"width": value}, "seed": number}}
        share(replica, found)
        replicas.append(replica)
    models = [replica.start["asked"]["model"] for replica in replicas]
    assert models[0] is models[3]
    assert [type(model["width"]) for model in models] == [int, float, bool, int]
    groups = group_runs(replicas)
    assert [[run.id for run in group.replicas] for group in groups] == [["0", "3"], ["1"], ["2"]]


def test_seeds_are_grouped_and_ranked_by_validation_alone(home: Store) -> None:
    found = summarise(home, widths(home))
    assert (found.columns, names(found)) == (["model.hidden"], ["hidden=784", "hidden=392"])
    assert (found.monitor, found.mode, found.score) == ("valid/accuracy", "max", "test/accuracy")
    best = found.groups[0].mean("valid/accuracy")
    assert best is not None
    assert (round(best.mean, 12), best.n) == (0.97, 3)
    assert best.half == pytest.approx(4.302652729749462 * 0.01 / math.sqrt(3), abs=1e-12)
    assert found.groups[1].by_replica("valid/accuracy") == {
        0: 0.95,
        1: 0.95,
        2: 0.95,
    }  # at the best epoch, not the last
    assert tables.ranking(found, 9).rows[0] == [
        "784", "3", "0.9700 ± 0.0248", "0.8000 ± 0.0000", "2.0 ± 0.0", "2.0 ± 0.0", "≥ 2.7 ± 1.4 (1 of 3 got there)", "1,000", "2.0 ± 0.0",
    ]  # fmt: skip


def test_of_two_groups_the_second_to_come_is_compared_with_the_first(home: Store) -> None:
    found = summarise(home, widths(home))
    (one,) = found.contrasts["valid/accuracy"]
    assert (found.baseline, one.group.name, one.verdict) == (
        {"model.hidden": "392"},
        "hidden=784",
        "3 pairs cannot tell",
    )
    assert one.paired.difference is not None
    assert one.paired.difference.mean == pytest.approx(0.02, abs=1e-12)
    assert one.paired.d_z == pytest.approx(2.0, abs=1e-9)
    assert one.paired.p == one.paired.holm == pytest.approx(0.0741799, abs=1e-7)
    (tested,) = found.contrasts["test/accuracy"]
    assert tested.verdict == "differs alike in all 3 pairs: no spread to test by"


def test_a_regression_is_ranked_by_the_smallest_loss(home: Store) -> None:
    cells = [
        add(home, f"model.hidden={width}", "seed=0", valid=[0.5, loss], task="regression")
        for width, loss in ((8, 0.4), (16, 0.25))
    ]
    found = summarise(home, manifest(home, cells))
    assert (found.monitor, found.mode, found.score) == ("valid/loss", "min", "test/mae")
    assert names(found) == ["hidden=16", "hidden=8"]
    assert found.target is None
    assert "epochs to" not in " ".join(tables.ranking(found, 9).columns)


def test_runs_that_have_not_begun_make_no_number_another_one(home: Store) -> None:
    cells = [add(home, f"model.hidden={width}", "seed=0") for width in (8, 16)]
    cells.append(cell(["model.hidden=32", "seed=0"]))
    found = summarise(home, manifest(home, cells, baseline="model.hidden=8"))
    assert [note for note in found.notes if "another number" in note] == []
    told = {
        one.group.choices["model.hidden"]: one.verdict for one in found.contrasts[found.monitor]
    }
    assert told["32"] == "missing in its only run"


def test_what_is_not_in_the_means_is_told(home: Store) -> None:
    sweep = troubled(home)
    with home.run(cell(["model.hidden=32", "seed=0"])["fingerprint"]).claim():
        found = summarise(home, sweep)
    assert {tables.label(one, replica): why for one, replica, why in found.troubles()} == {
        "hidden=8 seed=1": "failed: ValueError: no",
        "hidden=8 seed=2": "missing: never started, or removed",
        "hidden=8 seed=3": "interrupted after epoch 2",
        "hidden=16 seed=0": "test/accuracy is nan",
        "hidden=16 seed=2": "diverged after epoch 1; no valid/accuracy, no test/accuracy",
        "hidden=16 seed=3": "diverged after epoch 2 (its metrics are those of the best epoch before)",
        "hidden=32 seed=0": "still running, after epoch 2",
        "hidden=64 seed=0": "missing: never started, or removed",
    }
    assert [tables.n_cell(found, one) for one in found.groups] == [
        "1 of 4 (1 failed, 1 interrupted, 1 missing)", "3 of 4 (1 diverged)", "0 of 1 (1 running)", "0 of 1 (1 missing)",
    ]  # fmt: skip
    assert (
        found.statuses()
        == "10 runs of 4 configs: 5 finished, 1 failed, 1 interrupted, 2 missing, 1 running"
    )
    assert tables.ranking(found, 9).rows[1][2:4] == ["0.7667 ± 0.1434", "0.5000 ± 0.0000 (n=2)"]


def test_the_terminal_tells_it_too(home: Store, sweeplab: Command) -> None:
    ended = sweeplab(troubled(home))
    assert ended.code == 0
    assert (
        "10 runs of 4 configs: 5 finished, 1 failed, 1 interrupted, 2 missing, 1 unfinished; ranked by"
        in ended.out
    )
    assert "  hidden=8 seed=1: failed: ValueError: no\n" in ended.out
    assert "  hidden=32 seed=0: unfinished after epoch 2\n" in ended.out
    assert "nothing is ranked or chosen by it" in ended.out


def test_a_run_whose_files_cannot_be_read_is_told(home: Store) -> None:
    one = add(home, "seed=0")
    journal = home.run(one["fingerprint"]).journal.path
    journal.write_text("{nonsense\n")
    found = summarise(home, manifest(home, [one]))
    ((_, replica, why),) = found.troubles()
    assert replica.status == "damaged"
    assert why.startswith(f"its journal cannot be read: {journal}: is damaged: line 1: ")
    assert why.endswith("; remove its folder and train it again")


def test_an_error_of_an_earlier_attempt_is_not_told(home: Store) -> None:
    one = add(home, "seed=0", status="failed", stop_reason=None)
    run = home.run(one["fingerprint"])
    run.journal.append(
        store.Event.START,
        **{k: v for k, v in run.journal.events()[0].items() if k not in ("time", "event")},
    )
    run.result_file.unlink()
    assert read(home, one).trouble([]) == "unfinished after epoch 2"


def test_places_and_ways_of_computing_do_not_split_a_group(home: Store) -> None:
    cells = [
        add(home, "seed=0", "trainer.threads=1", "data.root=/a"),
        add(home, "seed=1", "trainer.threads=2", "data.root=/b"),
        add(
            home,
            "seed=2",
            "trainer.monitor=valid/accuracy",
            "trainer.mode=max",
            "model.hidden=392.0",
        ),
    ]
    (one,) = summarise(home, manifest(home, cells)).groups
    assert [replica.seed for replica in one.replicas] == [0, 1, 2]


def test_other_code_and_other_data_do(home: Store) -> None:
    cells = [
        add(home, "seed=0", code={"net": "a" * 64}),
        add(home, "seed=1", code={"net": "b" * 64}),
        add(home, "seed=2", code={"net": "a" * 64}, data={"digest": "e" * 64}),
    ]
    found = summarise(home, manifest(home, cells))
    assert sorted(found.columns) == ["code.net", "data.digest"]
    assert sorted(one.cells[found.columns.index("code.net")] for one in found.groups) == [
        "a" * 12,
        "a" * 12,
        "b" * 12,
    ]


def test_what_is_off_is_no_difference_from_what_was_not_there_yet(home: Store) -> None:
    cells = [add(home, "seed=0"), add(home, "seed=1", "+model.later=null")]
    assert len(summarise(home, manifest(home, cells)).groups) == 1


def test_choices_are_columns_as_they_were_typed(home: Store) -> None:
    cells = [
        add(home, "model=mlp", "+model.kind=a", "seed=0"),
        add(home, "model=linear", "+model.kind=b", "seed=0", "model.batch_norm=False"),
    ]
    found = summarise(home, manifest(home, cells))
    assert found.columns == ["model", "model.kind", "model.batch_norm"]
    assert {tuple(one.cells) for one in found.groups} == {
        ("mlp", "a", "true"),
        ("linear", "b", "false"),
    }


def test_what_was_not_typed_is_a_column_where_nothing_else_tells_groups_apart(home: Store) -> None:
    replicas = [
        read(home, add(home, "seed=0")),
        read(home, add(home, "seed=1", "model.dropout=0.5")),
    ]
    for replica in replicas:
        replica.cell["overrides"] = []
    assert swept_keys(group_runs(replicas)) == ["model.dropout"]


def test_one_group_has_the_keys_that_were_typed(home: Store) -> None:
    found = summarise(
        home, manifest(home, [add(home, "model.hidden=8", "trainer.threads=1", "seed=0")])
    )
    assert (found.columns, names(found)) == (["model.hidden"], ["hidden=8"])


def test_each_group_is_compared_with_that_of_the_same_other_keys(home: Store) -> None:
    found = compare.compare(factorial(home), home.manifests(), baseline={"batch_norm": "false"})
    pairs = {one.group.name: one for one in found.contrasts["valid/accuracy"]}
    assert {name: one.against and one.against.name for name, one in pairs.items()} == {
        f"rate={rate} batch_norm=true": f"rate={rate} batch_norm=false" for rate in (0.1, 0.2, 0.4)
    }
    assert {name: one.verdict for name, one in pairs.items()} == {
        "rate=0.1 batch_norm=true": "better",
        "rate=0.2 batch_norm=true": "worse",
        "rate=0.4 batch_norm=true": "5 pairs cannot tell",
    }
    assert "corrected for 3 comparisons (Holm)" in tables.contrast_caption(found, "valid/accuracy")
    middle = sorted(one.paired.p for one in pairs.values() if one.paired.p is not None)[1]
    assert middle * 2 in [one.paired.holm for one in pairs.values()]


def test_a_group_without_its_baseline_is_told(home: Store) -> None:
    cells = [add(home, f"model.hidden={w}", f"model.batch_norm={b}", "seed=0") for w, b in ((8, True), (8, False), (16, True))]  # fmt: skip
    manifest(home, cells)
    found = compare.compare(home, home.manifests(), baseline={"model.batch_norm": "False"})
    said = {one.group.name: one.verdict for one in found.contrasts["valid/accuracy"]}
    assert said["hidden=16 batch_norm=true"] == "no such baseline was run"
    assert said["hidden=8 batch_norm=true"] == "one pair only: a spread takes two"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("model.batchnorm=true", "--baseline model.batchnorm=true: model.batchnorm is not a swept key; did you mean 'model.batch_norm'?"),
        ("optimizer=sgd", "--baseline optimizer=sgd: optimizer is not a swept key; valid: model.batch_norm, model.rate"),
        ("batch_norm=tru", "--baseline batch_norm=tru: no run has that value; did you mean 'true'?"),
        ("rate=1", "--baseline rate=1: no run has that value; valid: 0.1, 0.2, 0.4"),
        ("rate", "baseline rate: must be KEY=VALUE of a swept key, as in model.batch_norm=false"),
    ],
)  # fmt: skip
def test_a_baseline_that_is_none_is_refused(
    home: Store, sweeplab: Command, given: str, said: str
) -> None:
    factorial(home)
    ended = sweeplab("--baseline", given)
    assert (ended.code, ended.err) == (2, f"{said}\n")


def test_a_sweep_has_a_baseline_of_its_own(home: Store) -> None:
    factorial(home)
    cells = home.manifests()[-1]["cells"]
    manifest(home, cells, "own", baseline="model.batch_norm=false")
    assert compare.compare(home, home.manifests()).baseline == {"model.batch_norm": "false"}
    found = compare.compare(home, home.manifests(), where="model.batch_norm == true")
    assert (found.baseline, found.contrasts) == ({}, {}), "what was left out is no baseline"


def test_where_all_runs_stop_at_the_target_the_epochs_to_it_are_compared_first(home: Store) -> None:
    cells = [
        add(
            home,
            f"model.batch_norm={norm}",
            "trainer.target=0.9",
            "trainer.epochs=9",
            f"seed={seed}",
            valid=[0.5] * late + [0.95],
        )
        for norm, late in ((True, 1), (False, 4))
        for seed in range(2)
    ]
    found = summarise(home, manifest(home, cells, baseline="batch_norm=false"))
    assert tables.shown_contrasts(found)[0] == TO_TARGET
    assert found.contrasts[TO_TARGET][0].paired.difference is not None
    assert found.contrasts[TO_TARGET][0].paired.difference.mean == -3


def test_the_page_of_an_experiment_is_written_around_its_verdict(home: Store, root: Path) -> None:
    folder = root / "experiments"
    folder.mkdir()
    found = summarise(home, widths(home))
    with pytest.raises(UserError, match="--write: width is no experiment: there is no"):
        experiment_page.write(found, folder, "width")
    (folder / "width.yaml").write_text(
        "# python train.py experiment=width\n#\n# Is wider\n# better?\nseed: 0\n"
    )
    written = experiment_page.write(found, folder, "width")
    text = written.read_text()
    assert text.startswith("# width\n\nIs wider better?\n\n    python train.py experiment=width\n")
    assert "| 784 | 3 | 0.9700" in text
    figures = re.findall(r"\]\((figures/width-.*?\.png)\)", text)
    assert figures
    assert all((folder / figure).exists() for figure in figures)
    written.write_text(
        text.replace("**Verdict.**", "**Verdict.** Yes.").replace("0.9700", "0.1") + "\nMore.\n"
    )
    experiment_page.write(found, folder, "width")
    again = written.read_text()
    assert again == text.replace("**Verdict.**", "**Verdict.** Yes.") + "\nMore.\n"
    written.write_text("# width\n")
    with pytest.raises(UserError, match="between which it is written"):
        experiment_page.write(found, folder, "width")


def test_a_baseline_is_read_with_its_commas() -> None:
    assert baseline_of(["model.hidden=[392,196],optimizer=adam", "lr=1"]) == {
        "model.hidden": "[392,196]", "optimizer": "adam", "lr": "1",
    }  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), [("True", "true"), ("null", "null"), ("1e-3", "0.001"), ("2.0", "2"), ("[392, 196]", "[392,196]"), ("[a,b]", "[a,b]"), ("relu", "relu")])  # fmt: skip
def test_values_are_shown_as_they_are_typed(text: str, shown: str) -> None:
    assert to_text(from_text(text)) == shown


def test_one_seed_each_is_warned_of(home: Store) -> None:
    cells = [add(home, f"model.hidden={width}", "seed=0") for width in (8, 16, 32)]
    (note,) = summarise(home, manifest(home, cells)).notes
    assert (
        note == "one seed each: chance alone makes differences; several tell, as in 'seed=range(5)'"
    )


def test_one_fold_each_is_warned_of(home: Store) -> None:
    data = {"name": "mnist", "digest": "d" * 64, "train": 20, "test": 10}
    fold = ("data.folds=3", "data.fold=0")
    cells = [add(home, f"model.hidden={width}", *fold, data=data) for width in (8, 16)]
    note = summarise(home, manifest(home, cells, replicate=["seed", "data.fold"])).notes[0]
    assert note.startswith("one fold each: ")
    assert note.endswith("as in data.folds=5 'data.fold=range(5)'")


def test_of_two_configs_with_a_baseline_the_differences_speak(home: Store) -> None:
    spread = {8: (0.90, 0.92), 16: (0.91, 0.93)}
    cells = [
        add(home, f"model.hidden={w}", f"seed={s}", valid=[v])
        for w, vs in spread.items()
        for s, v in enumerate(vs)
    ]
    found = summarise(home, manifest(home, cells))
    assert (found.baseline, found.notes) == ({"model.hidden": "8"}, [])


@pytest.mark.parametrize(("experiments", "title"), [((None, None), "2 sweeps"), (("width", None), "2 sweeps of width"), (("width", "depth"), "2 sweeps of depth, width")])  # fmt: skip
def test_several_sweeps_are_named_by_their_experiments(
    home: Store, experiments: Sequence[str | None], title: str
) -> None:
    for number, experiment in enumerate(experiments):
        manifest(home, [add(home, f"seed={number}")], f"sweep{number}", experiment)
    assert compare.compare(home, home.manifests()).title == title


def test_overlapping_intervals_are_too_close_to_call(home: Store) -> None:
    spread = {8: (0.90, 0.92), 16: (0.91, 0.93), 32: (0.5000, 0.5001)}
    cells = [
        add(home, f"model.hidden={w}", f"seed={s}", valid=[v])
        for w, vs in spread.items()
        for s, v in enumerate(vs)
    ]
    (note,) = summarise(home, manifest(home, cells)).notes
    assert note.startswith(
        "too close to call: 1 other interval overlaps with that of the best; --baseline KEY=VALUE"
    )


def test_other_machines_and_other_monitors_are_told(home: Store) -> None:
    cells = [
        add(home, "seed=0"),
        add(
            home,
            "seed=1",
            provenance={"device": "cuda", "threads": 2, "versions": {"torch": "2.15"}},
        ),
        add(home, "seed=2", "trainer.monitor=valid/loss"),
    ]
    notes = summarise(home, manifest(home, cells)).notes
    assert "the best epoch of some runs was chosen by valid/loss, not by valid/accuracy" in notes
    assert notes[-1] == (
        "made in different ways, so seconds do not compare: 2 runs: cpu, 1 thread, torch None; "
        "1 run: cuda, 2 threads, torch 2.15"
    )


def test_epochs_to_a_target(home: Store) -> None:
    cells = [
        add(home, "model.hidden=8", "seed=0", valid=[0.5, 0.985, 0.97]),
        add(home, "model.hidden=8", "seed=1", valid=[0.98]),
        add(home, "model.hidden=16", "seed=0", valid=[0.97]),
    ]
    found = summarise(home, manifest(home, cells))
    measured = {one.name: sorted(one.measured(TO_TARGET)) for one in found.groups}
    assert (found.target, found.limit) == (0.98, 3)
    assert measured == {"hidden=8": [1, 2], "hidden=16": [3]}, (
        "what never gets there counts with the limit"
    )
    lower = compare.compare(home, home.manifests(), target=0.97)
    assert [sorted(one.measured(TO_TARGET)) for one in lower.groups] == [
        [1, 2],
        [1],
    ]
    higher = compare.compare(home, home.manifests(), target=0.99)
    assert [one.measured(TO_TARGET) for one in higher.groups] == [[], []], "nobody gets there"


def test_a_target_that_nothing_can_reach_is_refused(home: Store) -> None:
    manifest(home, [add(home, "seed=0")])
    with pytest.raises(
        UserError,
        match=r"^--target=85: valid/accuracy is at least 0 and at most 1; .* 0.85 for 85 %$",
    ):
        compare.compare(home, home.manifests(), target=85)


def to_target(home: Store, epochs: dict[str, Sequence[int | None]], limit: int = 20) -> Comparison:
    """A sweep over batch_norm whose runs reach 0.9 at these epochs, seed by seed; None: never."""
    cells = []
    for norm, several in epochs.items():
        for seed, epoch in enumerate(several):
            valid = [0.5] * limit if epoch is None else [0.5] * (epoch - 1) + [0.95]
            reason = "max_epochs" if epoch is None else "target"
            given = (
                f"model.batch_norm={norm}",
                f"trainer.epochs={limit}",
                "trainer.target=0.9",
                f"seed={seed}",
            )
            cells.append(add(home, *given, valid=valid, stop_reason=reason))
    return summarise(home, manifest(home, cells, baseline="batch_norm=false"))


def test_a_config_that_never_gets_there_is_compared_with_one_that_does(home: Store) -> None:
    found = to_target(home, {"true": (8, 9, 10, 9, 8), "false": (None,) * 5})
    (contrast,) = found.contrasts[TO_TARGET]
    difference = contrast.paired.difference
    assert difference is not None
    assert (difference.mean, difference.n) == (-11.2, 5), "8.8 less the limit of 20"
    # scipy.stats.ttest_rel([8, 9, 10, 9, 8], [20] * 5)
    assert contrast.paired.p == pytest.approx(7.4184088607022805e-06, rel=1e-9)
    assert (contrast.verdict, contrast.bound) == ("better", "at least")
    assert tables.contrast_row(contrast, 1)[2:4] == ["5", "at least -11.2"]
    cells = {one.name: tables.mean_cell(found, one, TO_TARGET) for one in found.groups}
    assert cells == {
        "batch_norm=true": "8.8 ± 1.0",
        "batch_norm=false": "≥ 20.0 ± 0.0 (0 of 5 got there)",
    }
    assert "did not reach 0.9 counts with the limit of 20 epochs" in tables.ranking_caption(found)
    assert (
        "'at least' ('at most'): only one side has runs that count with the limit"
        in export.markdown(found)
    )


def test_some_that_do_not_get_there_stay_in_means_and_pairs(home: Store) -> None:
    found = to_target(home, {"true": (5, 6, 7), "false": (6, None, 14)})
    (contrast,) = found.contrasts[TO_TARGET]
    assert contrast.paired.difference is not None
    assert contrast.paired.difference.mean == pytest.approx(-22 / 3), "5 - 6, 6 - 20, 7 - 14"
    (without,) = [one for one in found.groups if one.late]
    assert tables.mean_cell(found, without, TO_TARGET) == "≥ 13.3 ± 17.4 (2 of 3 got there)"
    assert [
        row["without_target"] for row in csv.DictReader(io.StringIO(export.groups_csv(found)))
    ] == ["0", "1"]
    told = [row["without_target"] for row in csv.DictReader(io.StringIO(export.runs_csv(found)))]
    assert sorted(told) == ["false"] * 5 + ["true"]
    assert json.loads(export.as_json(found))["differences"][TO_TARGET][0]["bound"] == "at least"


def test_the_limit_is_what_all_runs_were_given_and_unfinished_ones_do_not_count(
    home: Store,
) -> None:
    cells = [
        add(home, "model.hidden=8", "trainer.epochs=10", "seed=0", valid=[0.5] * 6 + [0.99]),
        add(home, "model.hidden=8", "trainer.epochs=5", "seed=1", valid=[0.5, 0.99]),
        add(
            home, "model.hidden=8", "trainer.epochs=3", "seed=2", valid=[0.5], status="interrupted"
        ),
        add(
            home,
            "model.hidden=8",
            "trainer.epochs=5",
            "seed=3",
            valid=[0.5, math.nan],
            stop_reason="diverged",
        ),
    ]
    found = summarise(home, manifest(home, cells))
    epochs = {r.seed: r.measured.get(TO_TARGET) for one in found.groups for r in one.replicas}
    assert (found.limit, epochs) == (5, {0: 5, 1: 2, 2: None, 3: 5})
    assert {seed for one in found.groups for seed in one.late_replicas()} == {0, 3}


def two_arms(
    home: Store,
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    reason: str,
    *given: str,
) -> list[Node]:
    """Cells of `model.hidden=8` that end by themselves, and of `=16` that this reason ends, seed by seed."""
    arms = ((8, first, "max_epochs"), (16, second, reason))
    return [
        add(
            home,
            f"model.hidden={width}",
            "trainer.epochs=20",
            *given,
            f"seed={seed}",
            valid=valid,
            stop_reason=why,
        )
        for width, several, why in arms
        for seed, valid in enumerate(several)
    ]


def reached(epoch: int) -> list[float]:
    """A curve that is at 0.99 first at this epoch."""
    return [0.5] * (epoch - 1) + [0.99]


def limited(found: Comparison) -> dict[str, list[float] | None]:
    """Group -> min(T, limit) of its runs, in order."""
    return {one.name: sorted(one.measured(TO_TARGET)) or None
            for one in found.groups}  # fmt: skip


@pytest.mark.parametrize("reason", ["time_limit", "target"])
def test_a_run_that_was_cut_off_says_nothing_of_later_epochs(home: Store, reason: str) -> None:
    cells = two_arms(home, [reached(3), reached(9)], [[0.5] * 7, reached(8)], reason)
    found = summarise(home, manifest(home, cells))
    assert (found.limit, limited(found)) == (7, {"hidden=8": [3, 7], "hidden=16": [7, 7]})
    (contrast,) = found.contrasts[TO_TARGET]
    assert contrast.paired.difference is not None
    assert (contrast.paired.difference.mean, contrast.bound) == (2, ""), (
        "both sides have a run beyond epoch 7"
    )
    note = "epochs to 0.98 are told up to 7 epochs only: 1 run was cut off, by a time limit or an easier target"
    assert note in found.notes


def test_where_all_that_got_there_did_so_after_another_was_cut_off_nothing_is_told(
    home: Store,
) -> None:
    cells = two_arms(home, [reached(9), reached(8)], [[0.5] * 4, [0.5] * 6], "time_limit")
    found = summarise(home, manifest(home, cells))
    assert limited(found) == {"hidden=8": None, "hidden=16": None}
    assert TO_TARGET not in found.contrasts
    assert found.notes[-2:] == [
        "epochs to 0.98 are told up to 4 epochs only: 2 runs were cut off, by a time limit or an easier target",
        "no run reached valid/accuracy 0.98 within 4 epochs",
    ]


def test_a_time_limit_after_the_target_changes_nothing(home: Store) -> None:
    cells = two_arms(home, [reached(3), [0.5] * 20], [[*reached(4), 0.5], reached(5)], "time_limit")
    found = summarise(home, manifest(home, cells))
    assert (found.limit, limited(found)) == (20, {"hidden=8": [3, 20], "hidden=16": [4, 5]})


def test_a_run_that_its_patience_ended_never_gets_there(home: Store) -> None:
    cells = two_arms(home, [reached(15), reached(17)], [[0.5] * 6, [0.5] * 7], "patience")
    found = summarise(home, manifest(home, cells))
    assert (found.limit, limited(found)) == (20, {"hidden=8": [15, 17], "hidden=16": [20, 20]})
    assert (
        "with the limit of 20 epochs, also if its patience ended it sooner, so"
        in tables.ranking_caption(found)
    )


def test_a_run_that_reached_it_in_the_last_epoch_is_not_the_same_as_one_that_never_did(
    home: Store,
) -> None:
    cells = two_arms(home, [reached(1)] * 3, [[0.5]] * 3, "max_epochs", "trainer.epochs=1")
    found = summarise(home, manifest(home, cells))
    (contrast,) = found.contrasts[TO_TARGET]
    assert (contrast.verdict, contrast.bound) == (
        "the same within the limit in all 3 pairs",
        "at least",
    )
    assert "counts with the limit of 1 epoch, so" in tables.ranking_caption(found)


def test_a_finished_run_without_the_metric_is_not_late(home: Store) -> None:
    found = summarise(home, manifest(home, two_arms(home, [reached(3)], [[]], "max_epochs")))
    assert limited(found) == {"hidden=8": [3], "hidden=16": None}
    assert [one.late for one in found.groups] == [[], []]


def test_who_asks_for_a_target_that_no_run_reached_is_told(home: Store) -> None:
    manifest(home, two_arms(home, [reached(3)] * 2, [reached(4)] * 2, "max_epochs"))
    found = compare.compare(home, home.manifests(), target=0.995)
    assert "no run reached valid/accuracy 0.995 within 20 epochs" in found.notes
    assert list(json.loads(export.as_json(found))["differences"]) == [
        "valid/accuracy",
        "test/accuracy",
    ]
    with pytest.raises(UserError, match=r"^--target=nan: must be a finite number$"):
        compare.compare(home, home.manifests(), target=math.nan)


def test_mlflow_is_told_how_many_did_not_get_there(home: Store) -> None:
    cells = two_arms(home, [[*reached(1), 1.0], [*reached(3), 1.0], [0.9, 0.96]], [], "max_epochs")
    found = summarise(home, manifest(home, cells))
    measured = found.metrics()
    assert (measured["best/epochs_to_target"], measured["best/without_target"]) == (8, 1), (
        "1, 3, and the limit of 20"
    )


@pytest.mark.parametrize(
    ("difference", "late", "late_baseline", "said"),
    [
        (-3, [], [1], "at least"), (-3, [1], [], "at most"), (3, [1], [], "at least"), (3, [], [1], "at most"),
        (3, [], [], ""), (3, [1], [2], ""), (0, [1], [], "at least"), (0, [], [1], "at least"), (0, [], [], ""),
    ],
)  # fmt: skip
def test_what_a_difference_with_a_limit_says_of_that_without(
    difference: float, late: list[int], late_baseline: list[int], said: str
) -> None:
    assert bound(difference, late, late_baseline) == said


def test_the_runs_own_target_is_the_target(home: Store) -> None:
    found = summarise(
        home, manifest(home, [add(home, "trainer.target=0.6", "seed=0", valid=[0.5, 0.7])])
    )
    assert (found.target, found.groups[0].measured(TO_TARGET)) == (0.6, [2])


def test_runs_keep_in_memory_once_what_their_records_have_in_common(home: Store) -> None:
    known: dict[str, Node] = {}
    cells = [
        add(home, f"seed={seed}", f"model.hidden={hidden}")
        for seed, hidden in ((0, 1), (1, 1), (2, "true"))
    ]
    first, second, other = (read(home, one, known).start for one in cells)
    assert first["config"]["model"] is second["config"]["model"]
    assert first["provenance"] is other["provenance"]
    assert [start["config"]["seed"] for start in (first, second, other)] == [0, 1, 2]
    assert [start["config"]["model"]["hidden"] for start in (first, other)] == [1, True]
    assert other["config"]["model"]["hidden"] is True


def test_several_sweeps_are_one_comparison_each_run_once(home: Store, sweeplab: Command) -> None:
    shared = add(home, "model.hidden=8", "seed=0")
    first = manifest(home, [shared, add(home, "model.hidden=8", "seed=1")], "first", "norms")
    second = manifest(home, [shared, add(home, "model.hidden=16", "seed=0")], "second", "norms")
    found = json.loads(sweeplab("norms", "--json").out)
    assert [sweep["id"] for sweep in found["sweeps"]] == [first, second]
    assert sorted(len(one["runs"]) for one in found["groups"]) == [1, 2]
    assert [len(json.loads(sweeplab(*words, "--json").out)["groups"]) for words in ((first[:6],), (), (first, second))] == [1, 2, 2]  # fmt: skip


def test_json_has_what_the_table_has_unrounded(home: Store, sweeplab: Command) -> None:
    widths(home)
    ended = sweeplab("--json")
    found = json.loads(ended.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert [one["name"] for one in found["groups"]] == ["hidden=784", "hidden=392"]
    assert found["groups"][1]["metrics"]["valid/accuracy"] == {
        "mean": 0.95,
        "low": 0.95,
        "high": 0.95,
        "n": 3,
    }
    assert found["groups"][0]["values"]["model.hidden"] == 784
    assert found["differences"]["valid/accuracy"][0] | {"difference": {}} == {
        "name": "hidden=784", "against": "hidden=392", "said": "3 pairs cannot tell", "difference": {},
        "need": {"pairs": 5, "at_most": 11, "detectable": pytest.approx(0.0326404, abs=1e-5)},
        "deviation": pytest.approx(0.01), "d_z": pytest.approx(2), "p": pytest.approx(0.0741799), "holm": pytest.approx(0.0741799), "n_all": 3, "bound": None, "stopped": None,
    }  # fmt: skip


def test_csv_is_for_spreadsheets_which_take_no_name_for_a_formula(
    home: Store, sweeplab: Command
) -> None:
    manifest(home, [add(home, f"model.kind={kind}", "seed=0") for kind in ("=cmd()", "-1", "@x")])
    rows = list(csv.DictReader(io.StringIO(sweeplab("--csv").out)))
    assert sorted(row["model.kind"] for row in rows) == ["'=cmd()", "'@x", "-1"]
    assert [(row["runs"], row["valid/accuracy"], row["valid/accuracy low"], row["valid/accuracy n"]) for row in rows] == [("1", "0.75", "", "1")] * 3  # fmt: skip


def test_where_is_asked_of_the_whole_config(home: Store, sweeplab: Command) -> None:
    pytest.importorskip("sweeplab.config.where")
    troubled(home)
    found = json.loads(sweeplab("--where", "model.hidden < 16 and seed > 0", "--json").out)
    assert [(one["name"], [r["seed"] for r in one["runs"]]) for one in found["groups"]] == [
        ("hidden=8", [1, 2, 3])
    ]
    ended = sweeplab("--where", "model.hidden > 1000")
    assert (ended.code, ended.err) == (2, "--where=model.hidden > 1000: none of 10 runs\n")


def test_a_sweep_of_an_mlflow_parent_run(home: Store, sweeplab: Command, root: Path) -> None:
    sweep = manifest(home, [add(home, "seed=0")], experiment="norms")
    manifest(home, [add(home, "seed=1")], "later")
    parent = "c0ffee" + "0" * 26
    record = {
        f"sqlite:///{root}/mlflow.db": {
            "norms": {"experiment": "1", "created": 1, "run": parent, "fed": {}}
        }
    }
    (home.sweeps / f"{sweep[:16]}.mlflow.json").write_text(json.dumps(record))
    assert json.loads(sweeplab(parent, "--json").out)["sweeps"][0]["id"] == sweep


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["normz"], "normz: no sweep in {home} begins so or is of an experiment of that name; did you mean 'norms'?"),
        (["--report", "/proc/no"], "--report=/proc/no: No such file or directory; name a folder that can be made"),
        ([""], "'': an empty name; latest is the latest sweep, sweeplab runs lists the runs"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_refused(
    home: Store, sweeplab: Command, words: list[str], said: str
) -> None:
    manifest(home, [add(home, "seed=0")], experiment="norms")
    ended = sweeplab(*words)
    assert (ended.code, ended.err) == (2, f"{said.format(home=home.root)}\n")


def test_an_ambiguous_sweep_is_refused(home: Store, sweeplab: Command) -> None:
    for number in range(17):
        manifest(home, [add(home, f"seed={number}")])
    digits = [sweep["id"][0] for sweep in home.manifests()]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    ended = sweeplab(twice)
    assert ended.code == 2
    assert ended.err.startswith(f"{twice}: several sweeps begin so: ")


def test_an_empty_store_has_nothing_to_compare(root: Path, sweeplab: Command) -> None:
    ended = sweeplab()
    assert ended.code == 2
    assert ended.err.startswith(
        f"no sweep in {root}/runs (there is no such folder) yet; as in: python train.py -m "
    )


def two(home: Store) -> tuple[Run, Run]:
    """Two runs that differ in everything."""
    one = add(home, "model.hidden=8", "seed=0", code={"net": "a" * 64})
    other = add(
        home, "model.hidden=16", "seed=1", "trainer.threads=2", valid=[0.8], code={"net": "b" * 64},
        data={"name": "mnist", "digest": "e" * 64}, provenance={"device": "cpu", "threads": 2},
    )  # fmt: skip
    return home.run(one["fingerprint"]), home.run(other["fingerprint"])


def test_two_runs_are_laid_side_by_side(home: Store, sweeplab: Command) -> None:
    first, second = two(home)
    found = json.loads(sweeplab(first.id, str(second.folder), "--json").out)
    assert found.pop("schema") == "sweeplab.differences/1"
    assert found == {
        "config": {"model.hidden": [8, 16], "seed": [0, 1]},
        "code": {"net": ["a" * 12, "b" * 12]},
        "data": {"digest": ["d" * 64, "e" * 64]},
        "environment": {"threads": [1, 2]},
        "result": {"best_epoch": [2.0, 1.0], "early_stop_epoch": [2.0, 1.0]},
    }
    table = sweeplab(first.id, second.id).out
    assert re.search(r"model.hidden +8 +16", table)
    assert (
        "no difference in: config, code, data, environment, result\n"
        in sweeplab(first.id, first.id).out
    )


def test_two_runs_are_found_by_their_mlflow_runs(
    home: Store, sweeplab: Command, root: Path
) -> None:
    first, second = two(home)
    entry = {"experiment": "1", "created": 1, "run": "c0ffee" + "0" * 26, "fed": {}}
    second.mlflow_file.write_text(json.dumps({f"sqlite:///{root}/mlflow.db": {"norms": entry}}))
    assert json.loads(sweeplab(first.id, entry["run"], "--json").out)["data"]["digest"] == [
        "d" * 64,
        "e" * 64,
    ]


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_a_run_that_the_store_lacks_comes_from_mlflow(
    home: Store, sweeplab: Command, root: Path
) -> None:
    first, _ = two(home)
    away = Store(root / "away").open()
    overrides = ["model.hidden=64", "seed=0"]
    run = away.run(add(away, *overrides, experiment="norms")["fingerprint"])
    run.write_config({"model": {"hidden": 64}}, overrides)
    settings = config.Tracking(uri=f"sqlite:///{root}/mlflow.db")
    assert tracking.sync(away, settings, lambda *_: None) == []
    with sqlite3.connect(root / "mlflow.db") as database:
        ((run_id,),) = database.execute("select run_uuid from runs")
    database.close()
    assert json.loads(sweeplab(first.id, run_id, "--json").out)["config"] == {
        "model.hidden": [8, 64]
    }


def test_two_runs_take_no_options_of_sweeps(home: Store, sweeplab: Command) -> None:
    first, second = two(home)
    ended = sweeplab(first.id, second.id, "--target", "0.9")
    assert ended.code == 2
    assert (
        ended.err
        == "--csv, --latex, --report, --where, --baseline, --target and --margin are for sweeps, not for two runs\n"
    )
    ended = sweeplab(first.id, "nothing")
    assert ended.code == 2
    assert ended.err.startswith("nothing: no sweep in ")
    (home.run("f" * 64).folder).mkdir()
    home.run("f" * 64).journal.path.write_text("")
    ended = sweeplab(first.id, "ffff")
    assert (ended.code, "has no start in its journal" in ended.err) == (2, True)


def test_each_journal_is_read_once_and_says_what_a_result_says(
    home: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, opened = widths(home), []
    plain = Path.open

    def read(path: Path, *given: Any, **more: Any) -> Any:
        if path.is_relative_to(home.root):
            opened.append(path)
        return plain(path, *given, **more)

    monkeypatch.setattr(Path, "open", read)
    found = summarise(home, sweep)
    export.as_json(found)
    export.markdown(found)
    files = [run.journal.path for run in home.runs()]
    assert sorted(opened) == sorted([home.sweeps / f"{sweep[:16]}.json", *files])


def test_a_narrow_terminal_goes_without_some_columns(
    home: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    found = summarise(home, widths(home))
    narrow = Console(file=io.StringIO(), force_terminal=True, width=100, no_color=True)
    monkeypatch.setattr("sweeplab.console.screen", lambda: narrow)
    compare.show(found)
    text = narrow.file.getvalue()  # type: ignore[attr-defined]
    assert "no room here for best_epoch, seconds" in text
    assert re.search(r"784 +3 +0.9700 ± 0.0248 +0.8000 ± 0.0000", text)


def test_differences_are_told_in_whole_words_on_a_terminal_of_80_columns(
    home: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    found = summarise(home, widths(home))
    narrow = Console(file=io.StringIO(), force_terminal=True, width=80, no_color=True)
    monkeypatch.setattr("sweeplab.console.screen", lambda: narrow)
    compare.show(found)
    text = re.sub(r"\x1b\[[0-9;]*m", "", narrow.file.getvalue())  # type: ignore[attr-defined]
    assert "no room here for d_z, p, pairs, pairs needed; the report has them" in text
    assert re.search(r"model\.hidden +verdict +difference +95 % interval +\(Holm\)", text)
    assert re.search(r"784 +3 pairs cannot +\+0\.0200 +-0\.0048 to \+0\.0448 +0\.074", text)


def test_long_keys_are_shown_short_and_broken_in_no_word_where_there_is_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rich.console import Console

    narrow = Console(file=io.StringIO(), force_terminal=True, width=72, no_color=True)
    monkeypatch.setattr("sweeplab.console.screen", lambda: narrow)
    keys = ["optimizer.momentum", "model.batch_norm", "data.batch_transform.degrees", "verdict"]
    row = ["0.95", "true", "15", "20 pairs cannot tell (look 3: 20 seeds)", "-0.0020 to +0.0050"]
    table = tables.Table(heading="", columns=[*keys, "95 % interval"], rows=[row], texts=4)
    terminal._show(table)
    text = re.sub(r"\x1b\[[0-9;]*m", "", narrow.file.getvalue())  # type: ignore[attr-defined]
    words = [line.split() for line in text.splitlines()]
    assert ["momentum", "batch_norm", "degrees", "verdict", "95", "%", "interval"] in words
    assert ["0.95", "true", "15", "20", "pairs", "-0.0020", "to", "+0.0050"] in words


def test_what_a_sweep_starts_from_is_noted(home: Store) -> None:
    start = {"asked": "width", "sweep": "0123456789abcdef", "taken": ["model.hidden=8"]}
    sweep_id = manifest(home, [add(home, "model.dropout=0.1", "seed=0", valid=[0.5])])
    sweep = home.manifest(sweep_id) | {"from": start}
    found = compare.compare(home, [sweep])
    said = "starts from the best of sweep 0123456789ab (sweep.from=width): model.hidden=8"
    assert found.notes[0] == said
    assert said.replace("_", r"\_") in export.markdown(found)


def test_metrics_for_the_parent_run_have_names_that_mlflow_takes(home: Store) -> None:
    cells = [
        add(home, f"model.hidden={w}", "seed=0", valid=[v])
        for w, v in (("[8,4]", 0.75), ("[8|4]", 0.5))
    ]
    found = summarise(home, manifest(home, cells)).metrics()
    assert found == {
        "best/valid/accuracy": 0.75, "best/test/accuracy": 0.5, "best/parameters": 1000.0,
        "group/valid/accuracy/hidden:-8-4-": 0.75, "group/test/accuracy/hidden:-8-4-": 0.5,
        "group/valid/accuracy/hidden:-8-4- 2": 0.5, "group/test/accuracy/hidden:-8-4- 2": 0.5,
    }  # fmt: skip
    assert all(re.fullmatch(r"[\w. :/-]{1,250}", name) for name in found)


def test_markdown_is_taken_as_it_is(home: Store) -> None:
    cells = [add(home, f"model.kind={kind}", "seed=0") for kind in ("a|b", "<script>", "*x*\n# y")]
    text = export.markdown(summarise(home, manifest(home, cells)))
    lines = text.splitlines()
    assert lines[2].startswith("| model.kind | n | best valid/accuracy | test/accuracy |")
    assert lines[3] == "|" + " --- |" * 8
    assert [line.split(" | ")[0] for line in lines[4:7]] == [
        "| a\\|b",
        "| &lt;script&gt;",
        "| \\*x\\* \\# y",
    ]
    assert lines[-1].startswith("- one seed each: ")


def test_an_accuracy_is_nowhere_said_to_be_above_one(home: Store, sweeplab: Command) -> None:
    cells = [
        add(home, "model.hidden=8", f"seed={seed}", valid=[v])
        for seed, v in enumerate((0.2, 0.9, 0.95))
    ]
    cells += [
        add(home, "model.hidden=16", f"seed={seed}", valid=[v])
        for seed, v in enumerate((0.5, 0.51, 0.52))
    ]
    found = summarise(home, manifest(home, cells))
    assert [tables.mean_cell(found, one, found.monitor) for one in found.groups] == [
        "0.6833 (0.0000 to 1.0000)", "0.5100 ± 0.0248",
    ]  # fmt: skip
    assert (
        "an interval that would go beyond what the metric can be ends there"
        in tables.ranking_caption(found)
    )
    (line, *_) = csv.DictReader(io.StringIO(export.groups_csv(found)))
    assert (line["valid/accuracy low"], line["valid/accuracy high"]) == ("0.0", "1.0")


@pytest.mark.parametrize(
    ("first", "said"), [(8, "diverged in all 3 runs"), (16, "the baseline diverged in all 3 runs")]
)
def test_a_config_that_diverges_in_all_seeds_is_said_to(home: Store, first: int, said: str) -> None:
    cells = [
        add(home, "model.hidden=8", f"seed={seed}", valid=[0.9, 0.99]) if good else
        add(home, "model.hidden=16", f"seed={seed}", valid=[math.nan], stop_reason="diverged")
        for good in ((True, False) if first == 8 else (False, True)) for seed in range(3)
    ]  # fmt: skip
    found = summarise(home, manifest(home, cells))
    assert [one.verdict for one in found.contrasts["valid/accuracy"]] == [said]
    assert [(one.group.cells, one.bound) for one in found.contrasts[TO_TARGET]] == (
        [(["16"], "at least")] if first == 8 else [(["8"], "at least")]
    )


@pytest.mark.parametrize(
    ("status", "said"),
    [("failed", "failed in all 2 runs"), ("interrupted", "interrupted in all 2 runs")],
)
def test_a_config_whose_runs_all_fail_is_said_to(home: Store, status: str, said: str) -> None:
    cells = [add(home, "model.hidden=8", f"seed={seed}") for seed in range(2)]
    cells += [add(home, "model.hidden=16", f"seed={seed}", status=status) for seed in range(2)]
    found = summarise(home, manifest(home, cells))
    assert [one.verdict for one in found.contrasts["valid/accuracy"]] == [said]
    turned = summarise(home, manifest(home, cells, "turned", baseline="model.hidden=16"))
    assert [one.verdict for one in turned.contrasts["valid/accuracy"]] == [f"the baseline {said}"]


def test_seeds_that_failed_on_one_side_each_are_no_pair(home: Store) -> None:
    cells = [
        add(home, f"model.hidden={hidden}", f"seed={seed}", status="finished" if good else "failed")
        for hidden, seed, good in ((8, 0, True), (8, 1, False), (16, 0, False), (16, 1, True))
    ]
    (one,) = summarise(home, manifest(home, cells)).contrasts["valid/accuracy"]
    assert one.verdict == "no seed with valid/accuracy on both sides: nothing can be told"
    cells += [
        add(home, "model.hidden=32", f"seed={seed}", status=why)
        for seed, why in enumerate(("failed", "pruned"))
    ]
    told = summarise(home, manifest(home, cells, "more", baseline="model.hidden=8")).contrasts[
        "valid/accuracy"
    ]
    assert [one.verdict for one in told][1] == "1 failed, 1 pruned: no valid/accuracy"


def test_what_diverged_is_told_before_the_epochs_to_a_target(
    home: Store, sweeplab: Command
) -> None:
    cells = [add(home, "model.hidden=8", f"seed={seed}", valid=[0.9, 0.99]) for seed in range(3)]
    cells += [
        add(home, "model.hidden=16", f"seed={seed}", valid=[math.nan], stop_reason="diverged")
        for seed in range(3)
    ]
    found = summarise(home, manifest(home, cells))
    assert tables.shown_contrasts(found) == ["valid/accuracy", TO_TARGET]
    shown = sweeplab().out
    assert shown.index("diverged in all 3 runs") < shown.index("differs alike in all 3 pairs")


def test_each_run_is_told_with_all_that_it_is_a_replica_by(home: Store) -> None:
    cells = [
        add(home, "model.hidden=8", f"data.split_seed={split}", f"seed={split + 5}")
        for split in (3, 4)
    ]
    found = summarise(home, manifest(home, cells, replicate=["seed", "data.split_seed"]))
    rows = list(csv.DictReader(io.StringIO(export.runs_csv(found))))
    assert [(row["data.split_seed"], row["seed"]) for row in rows] == [("3", "8"), ("4", "9")]
    runs = json.loads(export.as_json(found))["groups"][0]["runs"]
    assert [run["replica"] for run in runs] == [
        {"seed": 8, "data.split_seed": 3}, {"seed": 9, "data.split_seed": 4},
    ]  # fmt: skip
