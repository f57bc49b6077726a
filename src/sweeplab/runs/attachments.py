"""Keep what metrics compute besides numbers as files of the run, and as pictures if they plot.

The file of a metric is `metrics/<split>_<name>.json`, or `.txt` of a text. On the validation set it is of the best
epoch, or of the last epoch where none is the best.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sweeplab.store import METRICS, write_atomic
from sweeplab.train import metric_values
from sweeplab.train.state import to_bytes

LARGE = 2**20  # numbers, above which they are kept as torch does, and not as text
IN_A_ROW = 8  # pictures
LONGEST = 120  # characters of a file's name

log = logging.getLogger(__name__)


def keep(
    run: Path, split: str, others: Mapping[str, Any], metrics: Mapping[str, metric_values.Metric]
) -> None:
    """Write what the metrics computed of this split into files of the run's folder."""
    for name, value in others.items():
        stem = run / METRICS / f"{split}_{_file_name(name)}"
        stem.parent.mkdir(exist_ok=True)
        pictures = [part for part in metric_values.leaves(value) if hasattr(part, "savefig")]
        if not pictures:
            _write(stem, value)
        if isinstance(value, Tensor) and _are_pictures(value):
            write_atomic(stem.with_name(f"{stem.name}.png"), _as_png(value))
        if callable(plot := getattr(metrics.get(name), "plot", None)):
            pictures += _plotted(name, plot)
        for number, picture in enumerate(pictures, 1):
            _save(picture, stem.with_name(f"{stem.name}{'' if number == 1 else f'_{number}'}.png"))


def _are_pictures(value: Tensor) -> bool:
    """Tell whether a tensor is [C, H, W] or [N, C, H, W], grey or in colour: bytes, or 0 to 1."""
    if value.dim() not in (3, 4) or value.shape[-3] not in (1, 3) or min(value.shape[-2:]) < 4:
        return False
    if value.dtype == torch.uint8:
        return True
    return value.is_floating_point() and 0 <= float(value.min()) <= float(value.max()) <= 1


def _as_png(value: Tensor) -> bytes:
    """Lay pictures side by side, eight in a row, a white pixel apart, and write them as PNG."""
    from matplotlib.image import imsave

    pictures = value.detach().cpu().float().reshape(-1, *value.shape[-3:])
    if value.dtype == torch.uint8:
        pictures /= 255
    framed = functional.pad(pictures, [1, 1, 1, 1], value=1.0)
    missing = -len(framed) % min(IN_A_ROW, len(framed))
    framed = torch.cat([framed, torch.ones(missing, *framed.shape[1:])])
    rows = [torch.cat(list(row), dim=2) for row in framed.split(min(IN_A_ROW, len(framed)))]
    grid = torch.cat(rows, dim=1).expand(3, -1, -1).permute(1, 2, 0)
    content = io.BytesIO()
    imsave(content, grid.numpy(), format="png")
    return content.getvalue()


def _file_name(name: str) -> str:
    """Quote the name for every file system; a digest tells long names apart."""
    safe = quote(name, safe=" ")
    if len(safe) <= LONGEST:
        return safe
    return f"{safe[:LONGEST]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _write(stem: Path, value: Any) -> None:
    if isinstance(value, str):
        write_atomic(stem.with_name(f"{stem.name}.txt"), f"{value}\n".encode())
        return
    tensors = [each for each in metric_values.leaves(value) if isinstance(each, Tensor)]
    if sum(tensor.numel() for tensor in tensors) > LARGE:
        write_atomic(stem.with_name(f"{stem.name}.pt"), to_bytes(_on_cpu(value)))
        return
    text = json.dumps(_plain(value), ensure_ascii=False)
    write_atomic(stem.with_name(f"{stem.name}.json"), f"{text}\n".encode())


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _on_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_on_cpu(item) for item in value]
    return value.detach().cpu() if isinstance(value, Tensor) else _plain(value)


def _plain(value: Any) -> Any:
    """Turn a value into what JSON has.

    NaN and infinity become the texts that `float` reads; what is of no known kind becomes text.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return (
            value
            if math.isfinite(value)
            else str(value).replace("nan", "NaN").replace("inf", "Infinity")
        )
    if isinstance(value, complex):
        return [_plain(value.real), _plain(value.imag)]
    if isinstance(value, Tensor):
        dense = (
            value.detach().cpu().to_dense()
            if value.layout != torch.strided
            else value.detach().cpu()
        )
        return _plain((dense.dequantize() if dense.is_quantized else dense).tolist())
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)


def _plotted(name: str, plot: Any) -> list[Any]:
    """Return the figures that the metric draws, returned or left open.

    If plotting fails there are none: the training goes on.
    """
    try:
        import matplotlib as mpl

        if "matplotlib.pyplot" not in sys.modules:
            mpl.use("agg")  # which needs no screen
        from matplotlib import pyplot as plt

        open_before = set(plt.get_fignums())
        drawn = [each for each in metric_values.leaves(plot()) if hasattr(each, "savefig")]
        left = [plt.figure(number) for number in plt.get_fignums() if number not in open_before]
        return [*drawn, *(figure for figure in left if figure not in drawn)]
    except Exception as error:
        log.warning("metrics.%s: cannot be plotted: %s", name, error)
        return []


def _save(figure: Any, file: Path) -> None:
    from matplotlib import pyplot as plt

    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomic(file, content.getvalue())
    plt.close(figure)
