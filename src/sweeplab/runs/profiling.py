"""Where a run spends its time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sweeplab import console, store


@contextmanager
def profiled(run: store.Run, device: torch.device, *, on: bool) -> Iterator[None]:
    """Profile the epochs: `profile/trace.json` (for chrome://tracing) and `profile/table.txt`."""
    if not on:
        yield
        return
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities, acc_events=True) as profiler:
        yield
    folder = run.folder / "profile"
    folder.mkdir(exist_ok=True)
    text = profiler.key_averages().table(sort_by=f"self_{device.type}_time_total", row_limit=20)
    (folder / "table.txt").write_text(text, encoding="utf-8")
    profiler.export_chrome_trace(str(folder / "trace.json"))
    console.say(
        f"{text}\nprofile: {folder}/table.txt, trace.json (open it in chrome://tracing or Perfetto)"
    )
