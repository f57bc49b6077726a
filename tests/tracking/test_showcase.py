"""The saved view of a sweep, and the description of its experiment: what is written, when, and what is left alone."""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
import zlib
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from compared import add, begin, cell, manifest
from feeding import counts, feed

from sweeplab import config, tracking
from sweeplab.store import Store
from sweeplab.tracking import connection, records, saved_view, showcase
from sweeplab.tracking.connection import Connection
from sweeplab.tracking.goals import SweepManifest
from sweeplab.tracking.saved_view import Content

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

Node = dict[str, Any]


def sweep(home: Store, *given: Sequence[str], name: str = "demo", **more: Any) -> str:
    """A finished sweep of these overrides, each a run."""
    cells = [add(home, *overrides, experiment="demo", **more) for overrides in given]
    return manifest(home, cells, name=name, experiment="demo")


def content(home: Store, sweep_id: str) -> Content:
    found = SweepManifest(Path("x.json"), 0, home.manifest(sweep_id))
    result = Content.of(found, found.begun(home))
    assert result is not None
    return result


def state_of(value: str) -> Node:
    """What MLflow's UI reads of the value of a tag."""
    packed = json.loads(value)["state"].removeprefix("deflate;")
    state: Node = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


def grid(seeds: int = 2) -> list[tuple[str, str]]:
    return [
        (f"model.hidden={hidden}", f"seed={seed}") for hidden in (16, 64) for seed in range(seeds)
    ]


def tags(uri: str) -> dict[str, str]:
    """Those of the experiment."""
    from mlflow import MlflowClient

    experiment = MlflowClient(uri).get_experiment_by_name("demo")
    assert experiment is not None
    return dict(experiment.tags)


def views(uri: str) -> list[str]:
    return sorted(
        tag.removeprefix(showcase.VIEW) for tag in tags(uri) if tag.startswith(showcase.VIEW)
    )


# --- what a view shows


def test_a_view_has_a_line_for_each_config_parallel_coordinates_and_bars(home: Store) -> None:
    shown = content(home, sweep(home, *grid()))
    value = saved_view.write(shown, created=1234)
    assert value is not None
    envelope, state = json.loads(value), state_of(value)
    assert (envelope["name"], envelope["createdAt"]) == ("demo", 1234)
    assert state["searchFilter"] == f'tags.`{shown.tag}` = "1"'
    assert state["groupBy"] == {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "param", "groupByData": "model.hidden"}],
    }
    first = [chart for chart in state["compareRunCharts"] if chart["metricSectionId"] == "first"]
    assert [chart["type"] for chart in first] == ["LINE", "PARALLEL", "BAR", "BAR"]
    assert first[0]["metricKey"] == "valid/accuracy"
    assert first[1]["selectedParams"] == ["model.hidden"]
    assert [chart["metricKey"] for chart in first[2:]] == ["valid/accuracy", "test/accuracy"]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`valid/accuracy`", False)
    assert state["selectedColumns"][:2] == ["params.`model.hidden`", "metrics.`valid/accuracy`"]
    assert [(s["name"], s["display"]) for s in state["compareRunSections"]] == [
        ("2 configs; valid bars: last epoch", True),
        ("other metrics", False),
    ]


def test_a_choice_is_shown_by_the_params_that_tell_it(home: Store) -> None:
    def begun(choice: str, **trainer: int) -> Node:
        target = {"linear": "sweeplab.models.Linear", "mlp": "sweeplab.models.MLP"}.get(choice, "X")
        settings = {"seed": 0, "model": {"_target_": target}, "trainer": {"epochs": 3, **trainer}}
        key = "model" if choice in ("linear", "mlp") else "trainer"
        return begin(home, [f"{key}={choice}", "seed=0"], config=settings)[1]

    models = manifest(home, [begun("linear"), begun("mlp", batch_size=64)])
    assert content(home, models).params == {
        "model._target_": {"sweeplab.models.Linear", "sweeplab.models.MLP"}
    }
    half = manifest(
        home, [begun("fast", batch_size=8), cell(["trainer=slow", "seed=0"])], name="half"
    )
    assert content(home, half).params == {}, "of a choice that has not begun nothing is known"
    whole = manifest(
        home, [begun("quick", batch_size=8), begun("slow", batch_size=9)], name="whole"
    )
    assert content(home, whole).params == {"trainer.batch_size": {"8", "9"}}


@pytest.mark.parametrize(
    ("given", "params", "is_grouped", "axes"),
    [
        ([("seed=0",), ("seed=1",)], [], False, ["seed"]),  # one config
        ([("model.hidden=1", "seed=0"), ("model.hidden=2", "seed=0")], ["model.hidden"], False, ["model.hidden"]),
        ([(f"model.batch_norm={on}", f"seed={s}") for on in ("true", "false") for s in (0, 1)], ["model.batch_norm"], True, []),
    ],
)  # fmt: skip
def test_runs_are_grouped_where_configs_have_several_of_them(
    home: Store, given: list[tuple[str, ...]], params: list[str], is_grouped: bool, axes: list[str]
) -> None:
    shown = content(home, sweep(home, *given))
    assert (list(shown.params), shown.is_grouped, shown.axes) == (params, is_grouped, axes)


def test_of_more_runs_than_mlflow_loads_no_mean_is_of_the_lucky_ones(
    home: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_view, "LOADED", 3)
    several = content(home, sweep(home, *grid()))
    assert several.order == ("attributes.start_time", True)
    assert several.heading.startswith("the first 3 of 4 runs (more: > Load more); valid bars: ")
    one_each = content(home, sweep(home, *[(f"model.hidden={n}", "seed=0") for n in range(4)]))
    assert one_each.order == ("metrics.`valid/accuracy`", False)
    assert one_each.heading.startswith("the best 3 of 4 runs (more: > Load more); valid bars: ")


def test_folds_are_one_line_and_a_regression_puts_the_smallest_first(home: Store) -> None:
    cells = []
    for hidden in (1, 2):
        for fold in (0, 1):
            words = (
                f"model.hidden={hidden}",
                f"data.fold={fold}",
                "trainer.monitor=valid/mae",
                "seed=0",
            )
            cells.append(add(home, *words, task="regression", valid=[0.9, 0.5]))
    sweep_id = manifest(home, cells, replicate=["data.fold", "seed"])
    shown = content(home, sweep_id)
    assert (list(shown.params), shown.is_grouped) == (["model.hidden"], True)
    assert (shown.monitor, shown.mode, shown.tested) == ("valid/mae", "min", "test/mae")
    value = saved_view.write(shown, 0)
    assert value is not None
    assert state_of(value)["orderByAsc"] is True


def test_a_task_of_any_kind_shows_its_loss(home: Store) -> None:
    words = [("model.hidden=1", "seed=0"), ("model.hidden=2", "seed=0")]
    settings = {"seed": 0, "data": {"task": "any"}, "trainer": {"monitor": "valid/loss"}}
    cells = [begin(home, word, config=settings | {"model": {"hidden": 1}})[1] for word in words]
    shown = content(home, manifest(home, cells))
    assert (shown.monitor, shown.mode, shown.tested) == ("valid/loss", "min", "test/loss")


def test_a_view_with_too_much_to_name_is_cut_to_what_a_tag_holds(home: Store) -> None:
    shown = content(home, sweep(home, *grid()))
    noise = [os.urandom(100).hex() for _ in range(300)]
    many = Content(**{**vars(shown), "params": {f"model.{name}": {"1", "2"} for name in noise}})
    value = saved_view.write(many, 0)
    assert value is not None
    assert 5_000 < len(value) <= 20_000
    state = state_of(value)
    assert state["groupBy"] is None, "a part of the keys would make one line of several configs"
    assert len(state["selectedColumns"]) == 30 + 7


# --- when it is written


def test_a_view_is_written_as_soon_as_a_run_has_begun_and_only_once(home: Store, uri: str) -> None:
    given = [cell(overrides) for overrides in grid()]
    sweep_id = manifest(home, given, experiment="demo")
    feed(home, uri, has_clients=True)
    assert views(uri) == []
    begin(home, grid()[0], experiment="demo")
    feed(home, uri, has_clients=True)
    view = f"sweeplab_{sweep_id[:12]}"
    assert views(uri) == [view]
    links = tracking.links(home, home.manifest(sweep_id), uri, "http://x")
    assert list(links) == ["configs", "side by side"]
    assert links["configs"] == (
        f"http://x/#/experiments/1/runs?viewStateShareKey={view}&compareRunsMode=CHART&workflowType=machine_learning"
    )
    assert config.redact_text(links["configs"]) == links["configs"], "it is no secret"
    before = tags(uri), counts(uri)
    file = next(
        file for file in home.sweeps.glob("*.json") if not file.name.endswith("mlflow.json")
    )
    os.utime(file)  # as if it were issued again
    feed(home, uri)
    assert (tags(uri), counts(uri)) == before


def test_more_runs_than_can_be_looked_at_have_no_page_side_by_side(
    home: Store, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep_id = sweep(home, *grid())
    feed(home, uri)
    module = sys.modules["sweeplab.tracking.links"]
    for most, names in ((len(grid()), ["configs", "side by side"]), (len(grid()) - 1, ["configs"])):
        monkeypatch.setattr(module, "COMPARED", most)
        assert list(tracking.links(home, home.manifest(sweep_id), uri, "x")) == names


def test_a_sweep_that_an_earlier_version_fed_gets_its_view_and_nothing_else(
    home: Store, uri: str
) -> None:
    sweep_id = sweep(home, *grid())
    feed(home, uri)
    written, before = tags(uri), counts(uri)
    record = records.sweep_record(home, sweep_id)
    places = records.read_json(record)
    (entry,) = (places[uri]["demo"],)
    del entry["view"], entry["fed"]["view"]
    records.write_entry(record, uri, "demo", entry)
    delete_tags(uri, *written)
    runs = {file: file.read_bytes() for file in home.root.glob("*/mlflow.json")}
    assert list(tracking.links(home, home.manifest(sweep_id), uri, "x")) == [
        "curves",
        "side by side",
    ]
    feed(home, uri)
    assert (tags(uri), counts(uri)) == (written, before)
    assert {file: file.read_bytes() for file in runs} == runs
    assert list(tracking.links(home, home.manifest(sweep_id), uri, "x")) == [
        "configs",
        "side by side",
    ]


def delete_tags(uri: str, *names: str) -> None:
    from mlflow import MlflowClient

    for name in names:
        MlflowClient(uri).delete_experiment_tag("1", name)


def test_the_oldest_views_of_ours_go_and_none_of_a_users(
    home: Store, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr(showcase, "MOST_VIEWS", 2)
    sweeps = [sweep(home, *grid(), name="0")]
    feed(home, uri)
    mine, changed = f"{showcase.VIEW}sweeplab_mine", f"{showcase.VIEW}sweeplab_{sweeps[0][:12]}"
    users = json.dumps({"name": "mine", "createdAt": 1, "state": "{}"})
    for tag in (mine, changed):
        MlflowClient(uri).set_experiment_tag("1", tag, users)
    for number in range(1, 4):
        sweeps.append(
            manifest(home, home.manifest(sweeps[0])["cells"], name=str(number), experiment="demo")
        )
    feed(home, uri)
    os.utime(home.sweeps / f"{sweeps[0][:16]}.json")
    feed(home, uri)
    ids = [f"sweeplab_{sweep_id[:12]}" for sweep_id in sweeps]
    assert views(uri) == sorted([ids[0], "sweeplab_mine", ids[2], ids[3]])
    assert (tags(uri)[mine], tags(uri)[changed]) == (users, users)
    kinds = [next(iter(tracking.links(home, home.manifest(s), uri, "x"))) for s in sweeps]
    assert kinds == ["curves", "curves", "configs", "configs"]


@pytest.mark.parametrize(
    ("version", "has_views"),
    [("3.17.2", True), ("3.16.0", True), ("3.15.1", False), ("<html>", False)],
)
def test_a_server_of_an_older_version_gets_no_view(
    home: Store, version: str, has_views: bool
) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(version.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert Connection(home, f"http://127.0.0.1:{server.server_port}").has_views is has_views
        server.shutdown()


def test_without_views_the_charts_of_the_runs_are_linked(
    home: Store, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "WITH_VIEWS", "99")
    sweep_id = sweep(home, *grid())
    feed(home, uri)
    assert views(uri) == []
    links = tracking.links(home, home.manifest(sweep_id), uri, "http://x")
    assert "searchFilter=tags.%60sweep." in links["curves"]
    assert "[configs](#/experiments/1/runs?searchFilter=" in tags(uri)[showcase.NOTE]


def test_what_mlflow_refuses_is_done_without(
    home: Store, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(showcase, "VIEW", "mlflow.sharedViewState." + "x" * 300)
    sweep_id = sweep(home, *grid())
    worker = feed(home, uri)
    assert worker._state["lag"] == {}
    assert list(tracking.links(home, home.manifest(sweep_id), uri, "x")) == [
        "curves",
        "side by side",
    ]


# --- the description


def test_the_description_tells_of_the_latest_sweep_and_keeps_what_people_wrote(
    home: Store, uri: str
) -> None:
    from mlflow import MlflowClient

    def described() -> str:
        return tags(uri)[showcase.NOTE]

    def write(text: str) -> None:
        MlflowClient(uri).set_experiment_tag("1", showcase.NOTE, text)

    first = sweep(home, *grid(), name="first")
    home.report_folder(first).mkdir()
    home.write_summary(first, {}, "64 is better.", 4)
    feed(home, uri)
    view = f"#/experiments/1/runs?viewStateShareKey=sweeplab_{first[:12]}&"
    assert described().startswith(f"**Latest sweep**: [configs]({view}")
    assert "· finished · `first`\n\n64 is better.\n\n[//]: # (sweeplab 1800000000.0)" in described()

    write(f"Before.\n\n{described()}\n\nAfter.")
    sweep(home, ("model.hidden=1", "seed=0"), ("model.hidden=2", "seed=0"), name="second `x`")
    feed(home, uri)
    assert described().startswith("Before.\n\n**Latest sweep**: [configs](#/")
    assert described().endswith(
        "· finished · `second 'x'`\n\n\n\n[//]: # (sweeplab 1800000001.0)\n\nAfter."
    )
    os.utime(home.sweeps / f"{first[:16]}.json")
    feed(home, uri)
    assert "second" in described(), "of an earlier sweep nothing is told any more"

    write("All mine: see **Latest sweep** in the wiki.")
    sweep(home, ("model.hidden=3", "seed=0"), ("model.hidden=4", "seed=0"), name="third")
    feed(home, uri)
    assert described() == "All mine: see **Latest sweep** in the wiki."


def test_a_long_summary_is_cut_between_its_lines(home: Store) -> None:
    found = SweepManifest(Path("x.json"), 0, {"name": "n", "time": 5.0, "cells": []})
    text = showcase.with_sweep("", found, "LINKS", "\n".join(f"| row {n} |" for n in range(2000)))
    assert len(text) < 4_600
    assert text.endswith(" |\n\n... the rest is in the report\n\n[//]: # (sweeplab 5.0)")
    assert showcase.with_sweep(text, found, "LINKS", "short").count("Latest sweep") == 1
