"""The jobs of a sweep: Hydra's combinations and, but faster, exactly Hydra's configs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import PROJECT
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, flag_override

from sweeplab import config
from sweeplab.errors import UserError
from sweeplab.sweep.combinations import axes, combined
from sweeplab.sweep.compose import Composer

MASTER = ["data=digits", "hydra.job.chdir=false", "trainer.epochs=3"]


class Both:
    """Hydra's composition and ours, of the same command."""

    def __init__(self) -> None:
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        self.loader: Any = hydra.config_loader
        self.master = hydra.compose_config(
            "config", MASTER, run_mode=RunMode.MULTIRUN, from_shell=False
        )
        self.ours = Composer(self.loader, self.master)

    def by_hydra(self, overrides: list[str]) -> DictConfig:
        composed: DictConfig = self.loader.load_sweep_config(self.master, overrides)
        return composed


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        yield Both()


def containers(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every container below `node` with its flags, as struct."""
    if isinstance(node, DictConfig | ListConfig):
        yield key, node._metadata.flags
        if not (node._is_none() or node._is_interpolation() or node._is_missing()):
            for name in range(len(node)) if isinstance(node, ListConfig) else node.keys():
                yield from containers(node._get_node(name), f"{key}.{name}")


def outcome(compose: Any, overrides: list[str]) -> Any:
    """All that can be told of a config or an error: type and message, values as written, flags, values as resolved."""
    try:
        composed = compose(overrides)
    except Exception as error:
        return type(error).__name__, str(error), config.explain(error, overrides, is_composing=True)
    if "hydra" in composed:
        with flag_override(composed, ["struct", "readonly"], False):
            del composed["hydra"]
    try:
        resolved: Any = config.resolve(composed)
    except UserError as error:
        resolved = str(error)
    return OmegaConf.to_yaml(composed), dict(containers(composed)), resolved


VALUES = ["seed={}", "model.hidden={}", "model.dropout={}", "trainer.epochs={}", "optimizer.lr={}", "data.shape={}",
          "+model.added={}", "++model.hidden={}", "++new.deep.key={}", "+new.deep.other={}", "model={}", "+sweep.zip={}",
          "metrics={}", "+metrics.f1={}", "+a.b={}", "a.b={}", "+model.hidden={}", "trainer={}", "~model.dropout={}",
          "model.hiden={}", "optimzer.lr={}", "model.hidden.x={}", "++model.hidden.x={}", "+seed={}", "scheduler.mode={}",
          "data.dataset._target_={}", "+trainer.deep={}", "++data.shape={}"]  # fmt: skip
THINGS = ["3", "0", "-1", "0.5", "1e-3", "true", "null", "abc", "'a b, c'", "[1,2]", "[]", "{x:1,y:[2,{z:3}]}", "{}", "''",
          "${seed}", "${trainer.epochs}", "'${data.name}-x'", "${.hidden}", "${..seed}", "${nope}", "${model}", "inf",
          "[${seed},1]", "{hidden:5}", "???", "${oc.env:HOME}", "${oc.select:model.hidden,7}", "a\\,b", "{_target_:x.Y}"]  # fmt: skip
WHOLE = ["model=mlp", "model=linear", "model=cnn", "optimizer=sgd", "optimizer=adamw", "data=diabetes", "data=mnist",
         "loss=mse", "+loss@aux=mse", "loss@aux=mse", "+optimizer@model.inner=sgd", "debug=smoke", "debug=overfit",
         "+debug=smoke", "~debug", "~scheduler", "~scheduler=plateau", "~scheduler=cosine", "scheduler=one_cycle",
         "tracking=off", "experiment=linear_vs_mlp", "trainer=null", "model=[mlp,linear]", "model=none", "nogroup=x",
         "nogroup@x=y", "~model.dropout", "~model", "~model.hidden", "~nothing", "~nothing.here", "~data.shape",
         "model@data=mlp", "++model=mlp", "+model=mlp", "seed=1,2", "model.hidden=[1", "=3", "hydra.job.name=x",
         "hydra.nothing=1", "+x=${hydra:job.name}", "+x=${hydra.job.name}", "+x=${oc.select:${data.name}}",
         "~model.in_features", "~hydra", "store={root:a}", "+store={new:1}", "model={hidden:9}", "override model=mlp"]  # fmt: skip


def some(random_: random.Random) -> list[str]:
    """A random list of overrides, most of them good."""
    drawn = [
        random_.choice(WHOLE)
        if random_.random() < 0.35
        else random_.choice(VALUES).format(random_.choice(THINGS))
        for _ in range(random_.randint(0, 4))
    ]
    return ["data=digits", *drawn] if random_.random() < 0.7 else drawn


@pytest.mark.few(16)
@pytest.mark.parametrize("override", WHOLE)
def test_each_kind_of_override_composes_as_in_hydra(both: Both, override: str) -> None:
    assert outcome(both.ours, [override]) == outcome(both.by_hydra, [override])


def test_random_overrides_compose_as_in_hydra(both: Both, pytestconfig: pytest.Config) -> None:
    drawn = random.Random(4)  # no secret: the same lists in every run
    good, count = 0, 1000 if pytestconfig.getoption("--full") else 30
    for _ in range(count):
        overrides = some(drawn)
        expected = outcome(both.by_hydra, overrides)
        assert outcome(both.ours, overrides) == expected, overrides
        good += isinstance(expected[1], dict)
    assert good > count / 4, "not errors alone"


def test_groups_are_composed_once(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Composer(both.loader, both.master)
    asked: list[list[str]] = []
    compose = both.loader.load_sweep_config
    monkeypatch.setattr(
        both.loader, "load_sweep_config", lambda m, o: asked.append(list(o)) or compose(m, o)
    )
    for job in (
        ["model=cnn", "seed=1"],
        ["seed=2", "model=cnn"],
        ["model=linear", "seed=1"],
        ["model=cnn"],
    ):
        assert ours(job).data.name == "mnist"
    assert asked == [["model=cnn"], ["model=linear"]]
    assert ours(["model=cnn", "+x=${hydra.job.name}"]).hydra.job.config_name == "config", (
        "by Hydra itself"
    )
    with pytest.raises(Exception, match="Could not find 'model/none'"):
        ours(["model=none", "seed=1"])
    with pytest.raises(Exception, match="Could not find 'model/none'"):
        ours(["model=none", "seed=2"])
    assert asked[2:] == [["model=cnn", "+x=${hydra.job.name}"], ["model=none"]]


def test_one_job_does_not_change_the_next(both: Both) -> None:
    both.ours(["model.hidden=[1,2]", "+model.more={a:1}"]).model.hidden.append(3)
    assert both.ours(["seed=1"]).model.hidden == [392, 196]
    assert "more" not in both.ours(["seed=1"]).model


def test_a_hydra_that_is_not_as_we_know_it_composes_by_itself(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Composer, "_groups", None)
    assert (
        Composer(both.loader, both.master)(["model=cnn", "seed=3"]).hydra.runtime.choices.model
        == "cnn"
    )


# --- combinations


def parsed(*overrides: str) -> list[Any]:
    return OverridesParser.create().parse_overrides(list(overrides))


@pytest.mark.parametrize(
    "given",
    [
        ["seed=range(3)", "model.hidden=[1,2],[3]", "trainer.epochs=4"],
        [
            "+a=choice(1,2)",
            "~c",
            "~d=3",
            "++e={x:1},{x:2}",
            "f='a b','c,d'",
            "g=null,true,0.5",
            "h=sort(3,1,2)",
        ],
        [],
    ],
)
def test_combinations_are_those_of_hydras_own_sweeper(given: list[str]) -> None:
    assert combined(axes(parsed(*given))) == BasicSweeper.split_arguments(parsed(*given), None)[0]


@pytest.mark.parametrize(
    ("given", "jobs"),
    [
        (["a=1,2", "b=x", "a=3"], [["b=x", "a=3"]]),
        (
            ["a=1", "b=3,4", "a=1,2"],
            [["b=3", "a=1"], ["b=3", "a=2"], ["b=4", "a=1"], ["b=4", "a=2"]],
        ),
        (["a=x", "a={b:1}", "a={c:2}"], [["a=x", "a={b:1}", "a={c:2}"]]),
        (["a={b:1},{b:2}", "a={c:3}"], [["a={b:1}", "a={c:3}"], ["a={b:2}", "a={c:3}"]]),
        (["a.b=1", "a={b:2}", "a.b=3"], [["a={b:2}", "a.b=3"]]),
    ],
)
def test_of_a_key_that_is_given_again_the_last_counts_where_it_stands(
    given: list[str], jobs: list[list[str]]
) -> None:
    """As in a single run; Hydra's own sweeper loses all but the last of several sections, and a choice before one."""
    assert combined(axes(parsed(*given))) == jobs


def test_zipped_keys_are_paired_and_the_others_multiplied() -> None:
    jobs = combined(axes(parsed("h=1,2", "seed=0,1", "+e=3,4", "x=9"), ["e", "h"]))
    assert jobs == [
        ["h=1", "seed=0", "+e=3", "x=9"],
        ["h=1", "seed=1", "+e=3", "x=9"],
        ["h=2", "seed=0", "+e=4", "x=9"],
        ["h=2", "seed=1", "+e=4", "x=9"],
    ]


@pytest.mark.parametrize(
    ("given", "zipped", "message"),
    [
        (["model.hidden=1,2", "e=3,4"], ["model.hiden", "e"], "sweep.zip=model.hiden: is not swept; did you mean 'model.hidden'?"),
        (["a=1", "e=3,4"], ["a", "e"], "sweep.zip=a: is not swept; valid: e"),
        (["a=1,2,3", "e=3,4"], ["a", "e"], "sweep.zip: needs as many values of each key: a has 3, e has 2"),
        (["a=range(0)"], [], "a=range(0): has no value; a range counts up from 0 and ends before 0, as range(3) has 0,1,2"),
        (["a=range(1000000000)"], [], "a=range(1000000000): has too many values; a sweep has at most 1000000 jobs"),
        (["a=range(2000)", "e=range(3000)"], [], "-m: 6000000 combinations are asked for; a sweep has at most 1000000 jobs"),
        (["a=range(0,1,0)"], [], "a=range(0,1,0): has no list of values: range() arg 3 must not be zero"),
        (["a=interval(0,1)"], [], "a=interval(0,1): has no list of values; give some, as in a=1,2, or search it with hydra/sweeper=optuna"),
    ],
)  # fmt: skip
def test_what_cannot_be_combined_is_refused(
    given: list[str], zipped: list[str], message: str
) -> None:
    with pytest.raises(UserError) as error:
        combined(axes(parsed(*given), zipped))
    assert str(error.value) == message


def texts(override: str) -> list[str]:
    jobs = combined(axes(OverridesParser.create().parse_overrides([override])))
    return [job[0].partition("=")[2] for job in jobs]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=range(2),7", ["0", "1", "7"]),
        ("seed=7,range(2),9", ["7", "0", "1", "9"]),
        ("seed=range(1,3),range(4,6)", ["1", "2", "4", "5"]),
        ("optimizer.lr=range(1,3),0.5", ["1", "2", "0.5"]),
        ("optimizer.lr=range(0.1,0.35,0.1)", ["0.1", "0.2", "0.3"]),
        ("optimizer.lr=range(0.1,0.4,0.1)", ["0.1", "0.2", "0.3"]),
        ("optimizer.lr=range(1e-3,4e-3,1e-3)", ["0.001", "0.002", "0.003"]),
        ("optimizer.lr=range(0.3,0,-0.1)", ["0.3", "0.2", "0.1"]),
        ("optimizer.lr=range(0,1,0.25)", ["0.0", "0.25", "0.5", "0.75"]),
        ("seed=range(3,0,-1)", ["3", "2", "1"]),
    ],
)
def test_lists_may_hold_ranges_and_numbers_are_those_that_were_typed(
    override: str, expected: list[str]
) -> None:
    assert texts(override) == expected


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=range(0)", "seed=range(0): has no value; a range counts up from 0 and ends before 0, as range(3) has 0,1,2"),
        ("seed=range(3,0)", "seed=range(3,0): has no value; a range counts up from 3 and ends before 0, as range(3) has 0,1,2"),
        ("seed=range(0,3,-1)", "seed=range(0,3,-1): has no value; a range counts down from 0 and ends before 3, as range(3) has 0,1,2"),
        ("seed=1,interval(0,1)", "seed=1,interval(0,1): has no list of values: an interval has no list of values"),
        (
            "experiment=fast,width",
            "experiment=fast,width: an experiment is a sweep of its own; issue one command for each, as in experiment=fast, and compare them with: sweeplab compare NAME NAME",
        ),
    ],
)  # fmt: skip
def test_what_has_no_values_says_why(override: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        texts(override)
    assert str(error.value) == said


def test_a_glob_of_nothing_says_what_globs_are_for(both: Both) -> None:
    parser = OverridesParser.create(config_loader=both.loader)
    with pytest.raises(
        UserError, match="no option has a name like that; a glob is for the options of a group"
    ):
        combined(axes(parser.parse_overrides(["model=glob(zzz*)"])))
