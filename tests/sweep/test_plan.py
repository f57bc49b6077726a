"""The plan of a sweep: which jobs, what becomes of each, how long it takes; nothing is made."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROJECT, Command
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from planning import DIGITS, Planned, record, refused

from sweeplab import config, console, data, targets
from sweeplab.errors import UserError
from sweeplab.runs import job as jobs
from sweeplab.runs.job import Job
from sweeplab.store import Event, Status, Store
from sweeplab.sweep import estimate, grouping, preview
from sweeplab.sweep import plan as planning
from sweeplab.sweep.fate import Fate
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.plan import Plan


def names(plan: Plan) -> list[str]:
    return [cell.name for cell in plan.cells]


def test_what_is_wrong_in_several_jobs_is_said_once(planned: Planned) -> None:
    assert refused(planned, "data.std=x", "trainer.epochs=-1,-2").splitlines() == [
        "data.std=x: must be a number > 0, or a list with one for each channel, or null  (in 2 of 2 jobs: epochs=-1, ...)",
        "trainer.epochs=-1: must be a whole number >= 1  (in epochs=-1)",
        "trainer.epochs=-2: must be a whole number >= 1  (in epochs=-2)",
        "nothing was trained",
    ]


# --- which jobs


def test_zip_pairs_lists(planned: Planned) -> None:
    plan = planned(
        "model.hidden=8,16",
        "seed=0,1",
        "trainer.epochs=2,3",
        "sweep.zip=[model.hidden,trainer.epochs]",
    )
    assert names(plan) == [
        "hidden=8 seed=0 epochs=2",
        "hidden=8 seed=1 epochs=2",
        "hidden=16 seed=0 epochs=3",
        "hidden=16 seed=1 epochs=3",
    ]
    assert [cell.job.config.trainer.epochs for cell in plan.cells] == [2, 2, 3, 3]


def test_where_drops_combinations_even_such_as_are_not_in_order(
    planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned("model.hidden=0,8,600", "model.batch_norm=true,false", "sweep.where='0 < model.hidden < 512 or (model.hidden > 512 and not model.batch_norm)'")  # fmt: skip
    assert names(plan) == [
        "hidden=8 batch_norm=true",
        "hidden=8 batch_norm=false",
        "hidden=600 batch_norm=false",
    ]
    assert capsys.readouterr().out == "3 of 6 jobs are left out by sweep.where\n"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sweep.where='model.hidden < 512'", "model.hidden=[8,8],9"], "sweep.where: model.hidden < 512: model.hidden is [8, 8], a list: it has no size to compare; use == or in, as in model.hidden in [392, 256]  (in hidden=[8,8])\nnothing was trained"),
        (["sweep.where='seed > 1'", "seed=0,1"], "sweep.where: holds for none of the 2 jobs; nothing was trained"),
        (["sweep.where='sed > 1'", "seed=0,1"], "sweep.where: sed: no such key; did you mean 'seed'?; a text needs quotes: 'sed'  (in 2 of 2 jobs: seed=0, ...)\nnothing was trained"),
        (["sweep.where=true", "seed=0,1"], "sweep.where=true: must be a text, or null"),
        (["sweep.workers=1,2"], "sweep.workers: must be the same for all jobs of a sweep; it is carried out as one"),
        (["seed=0,1", "sweep.baseline='sed=1'"], "sweep.baseline: sed=1: sed is not a swept key; valid: data"),
        (["seed=0,1", "sweep.baseline='seed=2'"], "sweep.baseline: seed=2: configs are repeated over seed; name a swept key that is compared"),
        (["seed=0,1", "sweep.baseline=seed"], "baseline seed: must be KEY=VALUE of a swept key, as in model.batch_norm=false"),
        (["store.root=a,b"], "store, tracking: must be the same for all jobs of a sweep; it is one place"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_said(
    planned: Planned, overrides: list[str], message: str
) -> None:
    assert refused(planned, *overrides) == message


def test_a_baseline_is_kept_with_the_sweep(planned: Planned) -> None:
    plan = planned("model.batch_norm=true,false", "seed=0,1", "sweep.baseline='batch_norm=false'")
    assert plan.manifest(None, "running", 0.0)["baseline"] == "batch_norm=false"


def test_a_margin_is_kept_with_the_sweep_and_is_one_of_its_metric(planned: Planned) -> None:
    sweep = ("model.hidden=8,16", "trainer.monitor=valid/loss")
    plan = planned(*sweep, "sweep.margin=1.5")
    assert plan.manifest(None, "running", 0.0)["margin"] == 1.5
    assert planned(*sweep).manifest(None, "running", 0.0)["margin"] is None
    assert refused(planned, "model.hidden=8,16", "sweep.margin=1.5").startswith(
        "sweep.margin=1.5: valid/accuracy is at least 0 and at most 1; give a number below 1, as in 0.015 for 1.5 %"
    )
    for value in ("0", "-0.1", ".nan", "a"):
        assert refused(planned, "seed=0,1", f"sweep.margin={value}").startswith(
            f"sweep.margin={value}: must be a number > 0, or null"
        )


def test_where_is_over_the_config_as_it_is_recorded(planned: Planned) -> None:
    assert len(planned("model.hidden=[8],16", "sweep.where='model.hidden < 10'").cells) == 1


@pytest.fixture
def zipped() -> Iterator[None]:
    """experiment=zipped, which pairs hidden and epochs and leaves out the small; experiment=plain, which does not."""
    sweep = {"zip": ["model.hidden", "trainer.epochs"], "where": "model.hidden > 8"}
    ConfigStore.instance().store(
        group="experiment", name="zipped", node={"sweep": sweep}, package="_global_"
    )
    ConfigStore.instance().store(
        group="experiment", name="plain", node={"seed": 0}, package="_global_"
    )
    yield
    for name in ("zipped", "plain"):
        del ConfigStore.instance().repo["experiment"][f"{name}.yaml"]


def test_zip_and_where_may_stand_in_an_experiment(planned: Planned, zipped: None) -> None:
    lists = ("model.hidden=8,16,24", "trainer.epochs=2,3,4")
    assert names(planned("experiment=zipped", *lists)) == [
        "hidden=16 epochs=3",
        "hidden=24 epochs=4",
    ]
    assert len(planned("experiment=zipped", *lists, "sweep.zip=[]").cells) == 6
    assert refused(planned, "experiment=zipped,plain", *lists) == (
        "experiment=zipped,plain: an experiment is a sweep of its own; issue one command for each, as in "
        "experiment=zipped, and compare them with: sweeplab compare NAME NAME"
    )


def test_an_experiment_among_the_sweepers_params_has_its_rules(
    train: Command, zipped: None
) -> None:
    params = "hydra.sweeper.params={experiment:zipped}"
    ended = train(
        "-m", params, "model.hidden=8,16", "trainer.epochs=2,3", "sweep.plan=true", *DIGITS
    )
    assert (ended.code, ended.err) == (0, "")
    assert "1 of 2 jobs are left out by sweep.where" in ended.out


def test_a_rule_that_comes_too_late_is_refused(planned: Planned) -> None:
    """One that an option of a group sets, which is chosen with the other values of the jobs."""
    node = {"sweep": {"zip": ["model.hidden", "trainer.epochs"]}}
    ConfigStore.instance().store(group="late", name="one", node=node, package="_global_")
    try:
        assert refused(planned, "+late=one", "model.hidden=8,16", "trainer.epochs=2,3") == (
            "sweep.zip: is known too late here; give it on the command line, too"
        )
    finally:
        del ConfigStore.instance().repo["late"]


def test_zip_on_the_command_line(train: Command, root: Path) -> None:
    zip_ = "sweep.zip=[model.hidden,trainer.epochs]"
    ended = train("-m", "model.hidden=8,16", "trainer.epochs=2,3", zip_, "sweep.plan=true", *DIGITS)
    assert (ended.code, ended.err) == (0, "")
    assert "2 jobs: 2 new" in ended.out
    assert train("-m", "model.hidden=8", "trainer.epochs=2,3", zip_, *DIGITS).err == (
        "sweep.zip=model.hidden: is not swept; valid: trainer.epochs\n"
    )


def test_a_long_planning_is_counted(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[int, int]] = []

    class Bar:
        def __init__(self, text: str) -> None:
            assert text == "checking jobs"

        def __enter__(self) -> Any:
            return lambda done, total: counted.append((done, total))

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(console, "counting", Bar)
    planned("seed=range(3)")
    assert counted == []
    monkeypatch.setattr(planning, "PATIENCE", -1.0)
    planned("seed=range(3)")
    assert counted == [(0, 3), (1, 3), (2, 3)]


def test_what_jobs_share_is_found_out_once(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    facts = data.facts
    monkeypatch.setattr(
        jobs.data, "facts", lambda settings: asked.append(settings) or facts(settings)
    )
    plan = planned("seed=range(4)", "model.hidden=8,16")
    assert len(plan.cells) == 8
    assert len(asked) == 1
    assert [sum(layer.parameters for layer in cell.job.layers) for cell in plan.cells[:2]] == [
        64 * 8 + 8 + 16 + 8 * 10 + 10,
        64 * 16 + 16 + 32 + 16 * 10 + 10,
    ]
    assert pickle.loads(pickle.dumps(plan.cells[0].job)) == plan.cells[0].job  # noqa: S301  # our own


def test_planned_jobs_are_those_that_run_alone(planned: Planned) -> None:
    plan = planned("model=mlp,linear", "optimizer.lr=0.1,1", "scheduler=cosine")
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    for cell in plan.cells:
        composed = hydra.config_loader.load_configuration("config", cell.overrides, RunMode.RUN)
        assert jobs.prepare(config.parse(composed), cell.job.overrides) == cell.job


def test_a_job_is_refused_for_what_an_earlier_one_of_the_plan_was_not(planned: Planned) -> None:
    with pytest.raises(UserError, match=r"trainer\.shift=1: is for pictures, but data\.shape=None"):
        planned("data.shape=null", "trainer.shift=null,1")
    with pytest.raises(
        UserError, match=r"trainer\.mode=auto: nothing says which way valid/share is better"
    ):
        planned(
            "+metrics.share._target_=own.Share",
            "trainer.monitor=valid/share",
            "trainer.mode=max,auto",
        )


# --- what becomes of each


def fates(plan: Plan) -> list[str]:
    return [cell.fate.text for cell in plan.cells]


def test_each_job_has_its_fate(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeplab.train.cpus.count", lambda: 2)
    cells = planned("seed=range(5)").cells
    record(cells[0].job)
    record(cells[1].job, Status.FAILED)
    begun = record(cells[2].job)
    begun.checkpoints.mkdir()
    for epoch in (9, 10):
        (begun.checkpoints / f"{epoch}.pt").touch()
    begun.result_file.unlink()
    record(cells[3].job, "interrupted")
    again = planned("seed=range(5)")
    assert fates(again) == [
        "reuse",
        "failed before: trained from the start",
        "resume after epoch 10",
        "new",
        "new",
    ]
    assert [cell.fate.kind for cell in again.cells] == ["reuse", "failed", "resume", "new", "new"]
    assert again.cells[2].fate.epoch == 10
    assert preview.summary(again) == "5 jobs: 1 failed before, 1 reused, 1 resumed, 2 new"


def test_another_number_of_threads_shows(planned: Planned) -> None:
    record(planned("trainer.threads=2").cells[0].job, threads=1)
    assert fates(planned("trainer.threads=2")) == ["reuse, computed with trainer.threads=1"]
    assert (
        fates(planned("trainer.threads=1")) == fates(planned("trainer.threads=null")) == ["reuse"]
    )


NET = "import torch\nfrom {other} import WIDTH\nclass Net(torch.nn.Linear): pass  # {number}"


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A network of the user's own in two modules, my_net and my_widths."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(width: int) -> None:
        (tmp_path / "my_widths.py").write_text(f"WIDTH = {width}")
        (tmp_path / "my_net.py").write_text(NET.format(other="my_widths", number=width))

    write(1)
    yield write
    for name in ("my_net", "my_widths"):
        sys.modules.pop(name, None)


def test_a_stale_run_says_what_changed(
    planned: Planned, net: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = ("model=linear", "model._target_=my_net.Net")
    job = planned(*mine).cells[0].job
    assert list(job.code) == ["numerics", "my_net", "my_widths"]
    assert job.code["numerics"] == str(targets.NUMERICS)
    run = record(job)
    net(22)
    assert fates(planned(*mine)) == ["stale: my_widths changed"]
    assert fates(planned(*mine, "store.reuse=any")) == [
        f"reuse, my_widths changed since run {run.id}"
    ]
    said = "1 job: 1 reused; 1 of those reused by other code (store.reuse=any); sweep.plan=true tells which"
    assert preview.summary(planned(*mine, "store.reuse=any")) == said
    monkeypatch.setattr("sweeplab.targets.hashing.NUMERICS", targets.NUMERICS + 1)
    assert fates(planned(*mine)) == ["stale: my_widths, sweeplab's own numerics changed"]
    run.journal.path.write_text('{"event": "start"}\n')
    assert fates(planned(*mine)) == ["stale: other code"], "of an earlier version of sweeplab"
    run.journal.path.write_text("not JSON\n")
    assert fates(planned(*mine)) == ["stale: other code"]


def test_a_file_or_a_package_that_changed_makes_a_run_stale(
    planned: Planned, net: Callable[..., None], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = root / "site-packages"
    monkeypatch.syspath_prepend(site)
    (site / "nets-1.0.dist-info").mkdir(parents=True)
    (site / "nets.py").write_text("class Act: pass")
    (root / "words.txt").write_text("one")
    (root / "my_net.py").write_text(
        "import torch\nclass Net(torch.nn.Linear):\n"
        "    def __init__(self, in_features, out_features, act=None, vocab=None):\n"
        "        super().__init__(in_features, out_features)"
    )
    act = "+model.act={_target_:hydra.utils.get_class,path:nets.Act}"
    mine = ("model=linear", "model._target_=my_net.Net", act, "+model.vocab=words.txt")
    record(planned(*mine).cells[0].job)
    assert fates(planned(*mine)) == ["reuse"]
    (root / "words.txt").write_text("other")
    assert fates(planned(*mine)) == ["stale: model.vocab (file) changed"]
    (root / "words.txt").write_text("one")
    (site / "nets-1.0.dist-info").rename(site / "nets-1.1.dist-info")
    assert fates(planned(*mine)) == ["stale: nets (version) changed"]


def test_parts_of_the_code_change_when_the_digest_does(net: Callable[..., None]) -> None:
    before = targets.digest(["my_net.Net"]), targets.parts(["my_net.Net"])
    net(7)
    after = targets.digest(["my_net.Net"]), targets.parts(["my_net.Net"])
    assert before[0] != after[0]
    assert [name for name in after[1] if before[1][name] != after[1][name]] == ["my_widths"], (
        "a comment is no code"
    )
    assert targets.parts(["torch.nn.Linear", "sweeplab.models.MLP"]) == {
        "numerics": str(targets.NUMERICS)
    }


# --- how long it takes


def estimated(plan: Plan) -> list[tuple[float | None, str]]:
    found = estimate.estimates([(cell.job, cell.fate) for cell in plan.cells])
    return [(each.seconds, each.source) for each in found]


def test_earlier_runs_tell_how_long_it_takes(planned: Planned) -> None:
    for cell, seconds in zip(planned("seed=range(3)").cells, (8.0, 10.0, 30.0), strict=True):
        record(cell.job, seconds=seconds, early_stop_epoch=5.0)
    assert estimated(planned("seed=0,7", "optimizer.lr=0.001,0.01")) == [
        (0.0, ""),
        (10.0 / 5 * 20, "same network"),
        (10.0, "other seeds"),
        (10.0 / 5 * 20, "same network"),
    ]
    assert estimated(planned("seed=7", "trainer.epochs=3,6", "trainer.time_limit=9")) == [
        (6.0, "same network"),
        (9.0, "same network"),
    ]
    assert [source for _, source in estimated(planned("seed=7", "trainer.batch_size=64"))] == [
        "timed steps"
    ]


def test_a_resumed_run_takes_what_is_left(planned: Planned) -> None:
    job = planned("seed=0").cells[0].job
    record(job, seconds=10.0)
    (other,) = planned("seed=1").cells
    assert estimate.estimates([(other.job, Fate(kind="resume", text="", epoch=15))]) == [
        estimate.Estimate(seconds=2.5, source="other seeds")
    ]


def test_else_some_steps_are_timed(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    clocked: list[float] = []

    def clock(call: Callable[[], Any], budget: float) -> float:
        call()
        clocked.append(budget)
        return (0.01, 0.002)[(len(clocked) - 1) % 2]  # a step, a forward pass of 128 examples

    monkeypatch.setattr(estimate, "_clocked", clock)
    plan = planned("model.hidden=8,16", "optimizer.lr=0.1,0.2", "seed=0,1", "trainer.epochs=2")
    per_epoch = (1797 - 359 - 119) // 128 * 0.01 + 119 * 0.002 / 128
    assert estimated(plan) == [(pytest.approx(2 * per_epoch), "timed steps")] * 8
    assert len(clocked) == 4, "a step and a pass of each network"
    assert all(0 < budget <= 0.4 for budget in clocked)
    (smoke,) = estimated(planned("debug=smoke"))
    assert smoke == (pytest.approx(2 * 0.01 + 119 * 0.002 / 128), "timed steps")


def test_of_many_networks_some_are_timed(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "NETWORKS", 3)
    timed: list[int] = []

    def step(job: Job, budget: float) -> estimate.StepCost:
        timed.append(job.parameters)
        return estimate.StepCost(train=0.1, evaluate=0.0)

    monkeypatch.setattr(estimate, "_time_steps", step)
    plan = planned("model=linear,cnn", "data=digits,mnist", "trainer.epochs=1", "data.root=.")
    sizes = sorted(cell.job.parameters for cell in plan.cells)
    assert [each[1] for each in estimated(plan)] == ["timed steps"] * 4
    assert timed == [sizes[0], sizes[2], sizes[3]]
    monkeypatch.setattr(estimate, "_time_steps", lambda *_: None)
    assert estimated(plan) == [(None, "")] * 4, "a network that fails on random examples"


def test_steps_are_really_timed_and_leave_no_trace(planned: Planned) -> None:
    import torch

    before, threads = torch.get_rng_state(), torch.get_num_threads()
    ((seconds, source),) = estimated(planned("trainer.epochs=2", "trainer.precision=bf16"))
    assert source == "timed steps"
    assert seconds is not None
    assert 0.001 < seconds < 60
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_jobs_run_side_by_side(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeplab.train.cpus.count", lambda: 4)
    assert estimate.wall([3, 3, 2, 2, 2], planned().settings) == (4.0, 4)
    assert estimate.wall([3, 3, 2, 2, 2], planned("trainer.threads=2").settings) == (7.0, 2)
    assert estimate.wall([3, 3], planned("sweep.workers=1").settings) == (6.0, 1)
    assert estimate.wall([], planned().settings) == (0.0, 4)


# --- the table


def test_the_plan_is_shown_and_nothing_is_made(train: Command, root: Path) -> None:
    train(*DIGITS[::2], "data=digits", "model.hidden=32", "trainer.epochs=2")
    made = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    arguments = (
        *DIGITS[::2],
        "data=digits",
        "model.hidden=32,16",
        "trainer.epochs=2",
        "seed=0,1",
        "sweep.plan=true",
    )
    ended = train("-m", *arguments)
    assert (ended.code, ended.err) == (0, "")
    rows = [line.split() for line in ended.out.splitlines() if line.split()[:1] in (["32"], ["16"])]
    assert [row[:4] for row in rows] == [
        ["32", "0", "reuse", "2,474"],
        ["32", "1", "new", "2,474"],
        ["16", "0", "new", "1,242"],
        ["16", "1", "new", "1,242"],
    ]
    assert [" ".join(row[5:]) for row in rows] == ["", "other seeds", "timed steps", "timed steps"]
    assert "\n4 jobs: 1 reused, 3 new; at most " in ended.out
    assert ended.out.endswith(" workers\nnothing was trained: sweep.plan=true\n")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == made


def test_a_plan_makes_no_store_and_loads_no_mlflow(root: Path) -> None:
    program = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print('mlflow' in sys.modules))\n"
        f"sys.argv = ['train.py', '-m', 'data=digits', 'model.hidden=8,16', 'sweep.plan=true']\n"
        f"runpy.run_path({str(PROJECT / 'train.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 jobs: 2 new; at most " in done.stdout
    assert done.stdout.endswith("False\n")
    assert list(root.iterdir()) == []


def test_a_long_table_has_its_ends(planned: Planned, capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned("seed=range(70)", "sweep.plan=true", "trainer.epochs=1")
    preview.show(plan)
    shown = capsys.readouterr().out
    rows = [line.split()[0] for line in shown.splitlines() if "new" in line and "jobs" not in line]
    assert rows == [str(seed) for seed in [*range(20), *range(50, 70)]]
    assert "... 30 more" in shown
    assert "70 jobs: 70 new; at most " in shown


def test_a_single_job_is_shown_by_its_name(
    planned: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    job = planned("model.hidden=8").cells[0].job
    record(job, seconds=8.0, early_stop_epoch=4.0)
    preview.show(planned("model.hidden=8", "seed=3", "sweep.plan=true"))
    assert "8 seed=3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(1, "1 s"), (99, "99 s"), (100, "2 min"), (5300, "88 min"), (9000, "2.5 h")],
)
def test_times_are_rounded_for_people(seconds: float, shown: str) -> None:
    assert console.duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0123, "0.012"), (3.14159, "3.1"), (31.4, "31"), (1234.5, "1234")]
)
def test_seconds_have_two_digits(seconds: float, shown: str) -> None:
    assert console.two_digits(seconds) == shown


def test_the_plan_of_a_single_run(train: Command, root: Path) -> None:
    ended = train("data=digits", "model.hidden=8", "sweep.plan=true")
    assert ended.code == 0, ended.err
    assert "1 job: 1 new; at most " in ended.out
    assert "nothing was trained: sweep.plan=true" in ended.out
    assert list(root.iterdir()) == []


# --- Trained as one -----------------------------------------------------------------------------------------------------

CONSTANT = "scheduler=constant ~scheduler.factor ~scheduler.total_iters"
FUSED = ("model.hidden=16", "optimizer.lr=0.1,0.2,0.3,0.4,0.5,0.6", "seed=0,1")


def grouped(plan: Plan, workers: int) -> list[list[str]]:
    return [[cell.name for cell in cells] for cells in Jobs(plan).groups(workers)]


def test_runs_of_one_seed_that_differ_in_their_optimizer_are_trained_as_one(
    planned: Planned,
) -> None:
    plan = planned(*FUSED)
    rates = [f"lr=0.{n}" for n in range(1, 7)]
    of_seed = [[f"{rate} seed={seed}" for rate in rates] for seed in (0, 1)]
    assert grouped(plan, 1) == of_seed
    # twice as many groups as workers, if there are so many
    assert grouped(plan, 2) == [each[at : at + 3] for each in of_seed for at in (0, 3)]
    assert grouped(plan, 4) == grouped(plan, 0) == [[cell.name] for cell in plan.cells]


def test_on_a_gpu_small_runs_of_any_seed_and_width_share_a_process(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouping, "choose_device", lambda _: torch.device("cuda"))
    plan = planned("model.hidden=16,[392,196]", "seed=0,1,2", "trainer.batch_size=32,64")
    names = [cell.name for cell in plan.cells]
    assert grouped(plan, 1) == [names[:6], names[6:]]
    assert grouped(plan, 2) == [names[at : at + 3] for at in (0, 3, 6, 9)]
    assert grouped(planned("model.hidden=20000,30000,40000,50000"), 1) == [
        [f"hidden={width}"] for width in (20000, 30000, 40000, 50000)
    ]


@pytest.mark.few(6)
@pytest.mark.parametrize(
    "alone",
    [
        "sweep.fuse=false",
        "sweep.job_timeout=9",
        "trainer.time_limit=9",
        "trainer.threads=2",
        "trainer.precision=bf16",
        "trainer.compile=true",
        "trainer.overfit_batches=2",
        "data.dataset._target_=own.NoisySet trainer.batch_size=50",
        "data.dataset._target_=own.NoisySet data.memory=0 data.version=1 trainer.batch_size=50",
        "model.dropout=0.5",
        "model.hidden=3000",
        "loss._target_=own.NoisyLoss",
        "data.batch_transform._target_=own.mix",
        "+metrics.share._target_=own.Share",
        f"{CONSTANT} scheduler._target_=own.Constant",
        f"{CONSTANT} scheduler._target_=torch.optim.lr_scheduler.LambdaLR +scheduler.lr_lambda._target_=own.Falling",
        "optimizer=sgd optimizer._target_=torch.optim.LBFGS ~optimizer.momentum ~optimizer.weight_decay ~optimizer.fused",
    ],
)
def test_what_needs_a_process_of_its_own_gets_one(planned: Planned, alone: str) -> None:
    plan = planned(*FUSED, *alone.split())
    assert [len(cells) for cells in Jobs(plan).groups(1)] == [1] * 12


@pytest.mark.parametrize(
    "loss", ["loss=nll", "+loss.weight._target_=torch.ones +loss.weight.size=[10]"]
)
def test_losses_that_compute_the_same_at_any_time_are_computed_side_by_side(
    planned: Planned, loss: str
) -> None:
    plan = planned(*FUSED, *loss.split())
    assert [len(cells) for cells in Jobs(plan).groups(1)] == [6, 6]


def test_a_run_that_goes_on_is_not_trained_with_others(planned: Planned) -> None:
    cells = planned(*FUSED).cells
    record(cells[0].job)
    store = Store(cells[1].job.config.store.root)
    folder = store.run(cells[1].job.fingerprint).checkpoints
    folder.mkdir(parents=True)
    (folder / "3.pt").touch()
    groups = grouped(planned(*FUSED), 1)
    assert [cells[1].name] in groups
    assert sorted(map(len, groups)) == [1, 5, 5], "the finished one is not trained at all"


# --- Epochs that are shared ---------------------------------------------------------------------------------------------

STOPS = ["trainer.patience=1,2,null", "trainer.epochs=9,20", "trainer.min_delta=0.01"]


def sizes(plan: Plan, workers: int = 1) -> list[int]:
    return [len(cells) for cells in Jobs(plan).groups(workers)]


@pytest.mark.few(6)
@pytest.mark.parametrize(
    ("otherwise", "expected"),
    [
        ("", [6]),
        ("scheduler=constant", [6]),
        ("model=cnn trainer.precision=bf16 trainer.threads=2", [6]),
        ("model=mlp model.dropout=0.5 trainer.ema=0.9 trainer.target=0.5,0.9", [12]),
        ("seed=0,1", [6, 6]),
        ("scheduler=one_cycle", [3, 3]),
        ("scheduler=cosine", [3, 3]),
        ("scheduler=cosine trainer.scheduler_interval=step", [3, 3]),
        ("scheduler=cosine scheduler.T_max=5", [6]),
        ("scheduler=warmup_cosine", [3, 3]),
        ("trainer.monitor=valid/loss,valid/accuracy", [6, 6]),
        ("optimizer.lr=0.1,0.2", [6, 6]),
        ("trainer.time_limit=9", [1] * 6),
        ("trainer.profile=true", [1] * 6),
        ("sweep.job_timeout=9", [1] * 6),
        ("sweep.fuse=false", [1] * 6),
    ],
)
def test_runs_that_differ_in_when_they_stop_share_their_epochs(
    planned: Planned, otherwise: str, expected: list[int]
) -> None:
    plan = planned("model=linear", *STOPS, *otherwise.split())
    assert sizes(plan, 8) == expected
    assert sizes(plan, 0) == [1] * sum(expected)  # where nobody knows how many workers there are


def test_a_process_has_no_more_runs_than_it_can_have_files_open(planned: Planned) -> None:
    plan = planned("model=linear", "trainer.patience=range(1,71)", "trainer.epochs=100")
    assert sizes(plan) == [64, 6]


def test_networks_that_are_trained_as_one_share_their_epochs_too(planned: Planned) -> None:
    plan = planned("model.hidden=16", "optimizer.lr=0.1,0.2,0.3,0.4", "trainer.patience=1,2")
    assert sizes(plan, 1) == [4, 4]
    assert sizes(plan, 4) == [2] * 4
    first = grouped(plan, 1)[0]
    assert first == [
        "lr=0.1 patience=1",
        "lr=0.1 patience=2",
        "lr=0.2 patience=1",
        "lr=0.2 patience=2",
    ]


def test_runs_that_go_on_share_what_is_left(planned: Planned) -> None:
    cells = planned(*FUSED[:1], "trainer.patience=1,2,3,4").cells
    store = Store(cells[0].job.config.store.root)
    record(cells[0].job)
    for cell, threads in zip(cells[1:], (1, 1, 2), strict=True):
        run = store.run(cell.job.fingerprint)
        run.checkpoints.mkdir(parents=True)
        (run.checkpoints / f"{threads}.pt").touch()
        run.journal.append(Event.START, **cell.job.record(), provenance={"threads": threads})
    plan = planned(*FUSED[:1], "trainer.patience=1,2,3,4,5")
    assert grouped(plan, 1) == [["patience=2", "patience=3", "patience=5"], ["patience=4"]]


def test_the_plan_says_how_many_epochs_are_shared(train: Command) -> None:
    sweep = ("-m", "data=digits", "model.hidden=8", *STOPS, "seed=0,1", "sweep.plan=true")
    said = "10 of 12 runs share the epochs of another: at most 40 epochs instead of 174; at most "
    assert said in train(*sweep, "hydra/launcher=sweeplab").out
    for alone in (("sweep.fuse=false", "hydra/launcher=sweeplab"), ("hydra/launcher=basic",)):
        assert "share" not in train(*sweep, *alone).out
