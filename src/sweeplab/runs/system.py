"""Sample what the machine does while a run trains, under MLflow's names for system metrics.

The run's own process samples, since the feeder may be on another machine, and journals it like all
else. The whole machine is measured, other runs included.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from sweeplab.errors import UserError
from sweeplab.store import Event, Journal

INTERVAL = 10.0  # seconds between two samples, as MLflow has it
MEGA = 1e6


def check() -> None:
    """Raise UserError if there is nothing to measure with."""
    if find_spec("psutil") is None:
        raise UserError(
            "tracking.system_metrics=true: needs psutil, which is not installed: pip install psutil"
        )


@contextmanager
def sampled(journal: Journal, *, on: bool, interval: float = INTERVAL) -> Iterator[None]:
    """Append a sample to the journal every `interval` seconds meanwhile, and one at the end."""
    if not on:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        # Made in this thread, since psutil keeps the last counts of each thread.
        sample, last = _sampler(journal.path.parent), False
        while not last:
            last = over.wait(interval)
            with suppress(OSError):  # a full disk is told by the run itself
                journal.append(Event.SYSTEM, metrics=sample())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _sampler(folder: Path) -> Callable[[], dict[str, float]]:
    """Return a function that measures CPU and network since its last call, and the disk of `folder`."""
    import psutil

    psutil.cpu_percent()  # the first one is meaningless
    before = psutil.net_io_counters()

    def sample() -> dict[str, float]:
        memory, disk, network = (
            psutil.virtual_memory(),
            psutil.disk_usage(str(folder)),
            psutil.net_io_counters(),
        )
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / MEGA,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / MEGA,
            "disk_available_megabytes": disk.free / MEGA,
        }
        if network and before:  # a sandbox may have none
            values["network_receive_megabytes"] = (network.bytes_recv - before.bytes_recv) / MEGA
            values["network_transmit_megabytes"] = (network.bytes_sent - before.bytes_sent) / MEGA
        return {f"system/{name}": round(value, 1) for name, value in (values | _gpus()).items()}

    return sample


def _gpus() -> dict[str, float]:
    """Measure NVIDIA's GPUs, if nvidia-ml-py is installed; torch would have to open each first."""
    try:
        import pynvml

        pynvml.nvmlInit()
        cards = [
            pynvml.nvmlDeviceGetHandleByIndex(number)
            for number in range(pynvml.nvmlDeviceGetCount())
        ]
        values: dict[str, float] = {}
        for number, card in enumerate(cards):
            memory = pynvml.nvmlDeviceGetMemoryInfo(card)
            values[f"gpu_{number}_memory_usage_megabytes"] = memory.used / MEGA
            values[f"gpu_{number}_memory_usage_percentage"] = 100 * memory.used / memory.total
            values[f"gpu_{number}_utilization_percentage"] = pynvml.nvmlDeviceGetUtilizationRates(
                card
            ).gpu
    except Exception:  # not installed, no driver, or a card that does not say
        return {}
    return values
