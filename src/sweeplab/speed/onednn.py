"""Linear layers whose matrix products oneDNN computes, for CPUs on which MKL, PyTorch's default, has no fast code.

Forward and backward product of 784 x 392 at batch 128 take 0.20 instead of 0.40 ms; a training step of the default
network takes 0.78 of the time of a plain PyTorch loop instead of 1.01, with one thread 0.65 (medians of 30 to 60 rounds
in turn, AMD EPYC with AVX-512). oneDNN rounds otherwise, so results have other bits: a run records whether it was used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sweeplab import speed

SMALL = 16_384  # weights; below, the call costs more than the product (196 x 10: 15 us against 9)


def pays_off() -> bool:
    """Whether this CPU has AVX-512 and is not Intel's: MKL then computes without it, half as fast as oneDNN."""
    if speed.is_plain() or not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and "GenuineIntel" not in _cpu_vendor()


def _cpu_vendor() -> str:
    """Return the kernel's line on it; '' where there is none."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            return next((line for line in lines if line.startswith("vendor_id")), "")
    except OSError:
        return ""


def use(model: nn.Module) -> None:
    """Let oneDNN compute the larger linear layers of the network, which otherwise stays what it is."""
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.numel() >= SMALL:  # a subclass may compute something else
            module.__class__ = Linear


class Linear(nn.Linear):
    """torch.nn.Linear, with other rounding: float32 [B, in] -> [B, out] by oneDNN, anything else as its parent does."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name of the argument
        """[..., in] -> [..., out]."""
        if input.dim() != 2 or input.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        return affine(input, self.weight, self.bias)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What the layer computes of float32 [B, in], with gradients."""
    output: Tensor = _Affine.apply(x, weight, bias)
    return output


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [B, in] times weight [out, in] transposed, plus bias [out]; PyTorch itself calls this when it compiles."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


def _product(a: Tensor, b: Tensor) -> Tensor:
    return _affine(a, b.t())


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _affine(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (slope,) = slopes
        x, weight = ctx.saved_tensors
        # oneDNN's product has no derivative: where one is asked for (create_graph), take the one that has.
        times: Callable[[Tensor, Tensor], Tensor] = torch.mm if torch.is_grad_enabled() else _product
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            times(slope, weight) if to_x else None,
            times(slope.t(), x) if to_weight else None,
            slope.sum(0) if to_bias else None,
        )
