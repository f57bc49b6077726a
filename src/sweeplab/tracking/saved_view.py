"""The saved view of a sweep: MLflow's UI opens on it, and compares the sweep's configs.

A saved view is a tag of the experiment. MLflow's UI (3.16 and later) writes and reads it, and
nothing documents its form: `tests/test_browser.py` holds that the UI shows what is meant here.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeplab import metrics, store
from sweeplab.console import counted
from sweeplab.tracking import terms
from sweeplab.tracking.goals import Choice, SweepManifest, overrides_of
from sweeplab.tracking.records import Node

MOST_CHARACTERS = 20_000  # of a tag of an experiment
LOADED = 100  # runs that MLflow's UI loads at once
MOST_AXES = 8  # of parallel coordinates: the names of more cannot be read
CUTS = (200, 30, 5, 0)  # how many keys and metrics a view names: as many as it can hold
BY = "sweeplab"  # in the views that are ours
FIRST, OTHERS = "first", "others"  # ids of the two sections of charts
ENDING = (
    metrics.BEST_EPOCH,
    metrics.EARLY_STOP_EPOCH,
    metrics.PARAMETERS,
    metrics.SECONDS,
    metrics.EXAMPLES_PER_SECOND,
)
"""Metrics of every finished run, besides those of its test set."""


@dataclass(kw_only=True, frozen=True)
class Content:
    """What a view shows."""

    name: str  # of the sweep
    tag: str  # of its runs
    runs: int
    configs: int
    params: dict[str, set[str]]  # those that tell configs apart, and their values
    is_grouped: bool  # whether the runs of a config are one line
    axes: list[str]  # params that parallel coordinates can have
    monitor: str
    mode: str
    tested: str  # the metric of the test set
    curves: list[str]  # all metrics of an epoch

    @classmethod
    def of(cls, sweep: SweepManifest, begun: Mapping[Choice, store.Run]) -> Content | None:
        """Read a view's content from runs of a sweep, one of each choice; None if they give none."""
        histories = {choice: store.History.of(run.journal) for choice, run in begun.items()}
        starts = {choice: history.first_start for choice, history in histories.items()}
        starts = {choice: start for choice, start in starts.items() if start}
        if not starts:
            return None
        monitor, mode = Counter(map(metrics.watched, starts.values())).most_common(1)[0][0]
        epochs = [history.latest(store.Event.EPOCH) for history in histories.values()]
        names = dict.fromkeys(name for epoch in epochs for name in epoch.get("metrics", {}))
        known = {choice: terms.params(start) for choice, start in starts.items()}
        cells = [overrides_of(cell) for cell in sweep.manifest["cells"]]
        varied = varied_values(cells)
        swept = {key: values for key, values in varied.items() if key not in sweep.replicated}
        params = swept_params(swept, known)
        configs = {tuple(cell.get(key) for key in swept) for cell in cells}
        is_grouped = bool(params) and 1 < len(configs) < len(cells)
        axes = list(params) or [key for key in sweep.replicated if key in varied]
        if is_grouped:  # of the runs of a group MLflow shows means, which texts lack
            axes = [key for key, values in params.items() if all(map(is_number, values))]
        return cls(
            name=str(sweep.manifest["name"]),
            tag=sweep.tag,
            runs=len(cells),
            configs=len(configs),
            params=params,
            is_grouped=is_grouped,
            axes=axes,
            monitor=monitor,
            mode=mode,
            tested=_tested(next(iter(starts.values())), histories.values()),
            curves=[name for name in names if name != monitor],
        )

    @property
    def is_partial(self) -> bool:
        """Whether MLflow's UI shows a part of the runs only, until more are loaded by hand."""
        return self.runs > LOADED

    @property
    def order(self) -> tuple[str, bool]:
        """What the runs are sorted by, and whether the least comes first.

        The best ones come first. But a mean over those of a config's runs that are among the best
        says too much of it: where only a part is shown, runs are grouped in the order in which they
        began, in which those of a config stand together.
        """
        if self.is_partial and self.is_grouped:
            return "attributes.start_time", True
        return f"metrics.`{terms.key(self.monitor)}`", self.mode == "min"

    @property
    def heading(self) -> str:
        """Say what the charts compare, and that bars are of another epoch than the table."""
        what = counted(self.configs, "config") if self.is_grouped else "runs"
        if self.is_partial:
            which = "first" if self.is_grouped else "best"
            what = f"the {which} {LOADED} of {self.runs:,} runs (more: > Load more)"
        split = self.monitor.partition("/")[0]
        return f"{what}; {split} bars: last epoch"  # MLflow cuts a longer one


def _tested(start: Node, histories: Iterable[store.History]) -> str:
    """Return the metric of the test set: the score, or the loss where a step gives no score."""
    task = start["config"].get("data", {}).get("task") or metrics.CLASSIFICATION
    score = f"{metrics.TEST}/{metrics.score(task)}"
    ends = [history.metrics for history in histories if history.metrics]
    if not ends or any(score in end for end in ends):
        return score
    return f"{metrics.TEST}/{metrics.LOSS}"


def varied_values(cells: Sequence[Mapping[str, str]]) -> dict[str, set[str]]:
    """Map the keys that differ between cells to their values; '' stands for none."""
    keys = dict.fromkeys(key for cell in cells for key in cell)
    values = {key: {cell.get(key, "") for cell in cells} for key in keys}
    return {key: several for key, several in values.items() if len(several) > 1}


def is_number(text: str) -> bool:
    """Tell whether MLflow can average a param of this value."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def swept_params(
    swept: Mapping[str, set[str]], known: Mapping[Choice, Mapping[str, str]]
) -> dict[str, set[str]]:
    """Find the params of MLflow that the swept keys are; `known` are those of some runs.

    A choice, as `model=mlp`, is no param: others tell it, see `_params_of_choice`.
    """
    params: dict[str, set[str]] = {}
    for key, values in swept.items():
        if any(key in several for several in known.values()):
            params[key] = values
        elif "." not in key:
            params |= _params_of_choice(key, known)
    return params


def _params_of_choice(
    section: str, known: Mapping[Choice, Mapping[str, str]]
) -> dict[str, set[str]]:
    """Find the params that tell the choices of a section apart: its class alone if that does."""
    by_option: dict[str, Mapping[str, str]] = {}
    for choice, params in known.items():
        by_option.setdefault(dict(choice).get(section, ""), params)
    names = dict.fromkeys(name for params in by_option.values() for name in params)
    classes = [name for name in (f"{section}._target_", f"{section}.name") if name in names]
    parts = [name for name in names if name.startswith(f"{section}.")]
    values = {name: {params.get(name, "") for params in by_option.values()} for name in parts}
    for name in [*classes, *parts] if len(by_option) > 1 else classes:
        if len(values[name]) == len(by_option):
            return {name: values[name]}
    return {name: several for name, several in values.items() if len(several) > 1}


# --- as MLflow's UI has it


def write(content: Content, created: int) -> str | None:
    """Write a view as the value of a tag; None if it is too long even without its details."""
    for most in CUTS:
        state = json.dumps(_state(content, most), separators=(",", ":"))
        packed = base64.b64encode(zlib.compress(state.encode(), 9)).decode()
        envelope = {"name": content.name, "createdAt": created, "by": BY}
        value = json.dumps({**envelope, "state": f"deflate;{packed}"})
        if len(value) <= MOST_CHARACTERS:
            return value
    return None


def created_at(value: str) -> int | None:
    """Return when a view was created (milliseconds); None if sweeplab has not written it."""
    try:
        envelope = json.loads(value)
        return int(envelope["createdAt"]) if envelope["by"] == BY else None
    except (ValueError, LookupError, TypeError):
        return None


def _state(content: Content, most: int) -> Node:
    """Describe the page: the runs, their groups, columns and charts; `most` of each list."""
    params = [terms.key(name) for name in content.params]
    monitor, tested = terms.key(content.monitor), terms.key(content.tested)
    measured = [monitor, tested, *ENDING]
    groups = [{"mode": "param", "groupByData": name} for name in params]
    is_grouped = content.is_grouped and len(params) <= most
    columns = [f"params.`{name}`" for name in params[:most]]
    columns += [f"metrics.`{name}`" for name in measured]
    return {
        "searchFilter": f'tags.`{content.tag}` = "1"',
        "orderByKey": content.order[0],
        "orderByAsc": content.order[1],
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsHiddenMode": "FIRST_20_RUNS",
        "groupsExpanded": {},
        "runListHidden": True,  # beside it charts are too narrow
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "isAccordionReordered": True,  # else sections are sorted by name
        "groupBy": {"aggregateFunction": "average", "groupByKeys": groups} if is_grouped else None,
        "compareRunSections": [
            _section(FIRST, content.heading),
            _section(OTHERS, "other metrics", display=False),
        ],
        "compareRunCharts": _charts(content, most),
    }


def _section(uuid: str, name: str, *, display: bool = True) -> Node:
    return {
        "uuid": uuid,
        "name": name,
        "display": display,
        "columns": 2,  # of charts
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
    }


def _charts(content: Content, most: int) -> list[Node]:
    """Describe the charts: first those that rank the configs, in a folded section all others."""
    monitor, tested = terms.key(content.monitor), terms.key(content.tested)
    axes = [terms.key(name) for name in content.axes[: min(most, MOST_AXES)]]
    charts = [
        _line(monitor, FIRST),
        _chart(
            "PARALLEL",
            FIRST,
            selectedParams=axes,
            selectedMetrics=[tested, monitor],
            showAllRuns=True,
        ),
        _chart("BAR", FIRST, metricKey=monitor),
        _chart("BAR", FIRST, metricKey=tested),
    ]
    charts += [_line(terms.key(name), OTHERS) for name in content.curves[:most]]
    charts += [_chart("BAR", OTHERS, metricKey=name) for name in ENDING]
    return [{"uuid": str(number), **chart} for number, chart in enumerate(charts)]


def _line(metric: str, section: str) -> Node:
    return _chart(
        "LINE",
        section,
        metricKey=metric,
        selectedMetricKeys=[metric],
        xAxisKey="step",
        lineSmoothness=0,
        scaleType="linear",
        xAxisScaleType="linear",
        range={},
        selectedXAxisMetricKey="",
        useGlobalXaxisKey=True,
        useGlobalLineSmoothing=True,
    )


def _chart(kind: str, section: str, **more: Any) -> Node:
    return {
        "type": kind,
        "metricSectionId": section,
        "runsCountToCompare": 20,
        "deleted": False,
        "isGenerated": False,
        **more,
    }
