"""Linear layers whose matrix products oneDNN computes, for CPUs on which MKL has no fast code.

MKL is PyTorch's default; on AMD CPUs it computes without AVX-512. What that costs depends on how wide
the CPU computes. On an EPYC 784 x 392 at batch 128 took 0.20 instead of 0.40 ms, and a step of the
default network 0.78 of a plain PyTorch loop's time instead of 1.01 (0.65 with one thread; medians of
30 to 60 rounds in turn). Its family was not noted, but two cores with units of 256 bits are not that
fast, and AMD's have 512 from Zen 5 (family 26) on. Zen 4 (family 25, model 17) computes 512 bits in two
halves: the same product took 0.86 of MKL's time with two threads and 0.97 with one, smaller ones up to
1.15 (n=40 x 20); a step on one thread 1.11 of it (n=10 x 20). So it is used from family 26 on.

oneDNN rounds otherwise, so results have other bits. A run records whether it was used. Off with
SWEEPLAB_PLAIN=1.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sweeplab import speed

# Weights of a layer, below which the call costs more than the product (196 x 10: 15 us against 9).
SMALL = 16_384
ZEN_5 = 26  # a family of AMD's CPUs
CPUINFO = Path("/proc/cpuinfo")  # Linux's


def pays_off() -> bool:
    """Tell whether this CPU is AMD's and computes 512 bits at once, so that MKL uses half of it."""
    if speed.is_plain() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    if not torch.backends.mkl.is_available() or not torch.backends.mkldnn.is_available():
        return False
    return _amd_family() >= ZEN_5


def _amd_family() -> int:
    """Return the family of an AMD CPU, as the kernel says it; 0 for any other."""
    try:
        with CPUINFO.open(encoding="utf-8", errors="replace") as lines:
            fields = dict(map(_field, itertools.takewhile(str.strip, lines)))  # of the first CPU
    except OSError:
        return 0
    if fields.get("vendor_id") != "AuthenticAMD":
        return 0
    return int(fields.get("cpu family", "0"))


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


def use(model: nn.Module) -> None:
    """Let oneDNN compute the larger linear layers of the network, which otherwise stays what it is."""
    for module in model.modules():
        # A subclass may compute something else.
        if type(module) is nn.Linear and module.weight.numel() >= SMALL:
            module.__class__ = Linear


class Linear(nn.Linear):
    """torch.nn.Linear with other rounding: oneDNN computes float32 [B, in], torch anything else."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """Map [..., in] to [..., out]."""
        if input.dim() != 2 or input.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        return affine(input, self.weight, self.bias)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute what the layer makes of float32 [B, in], with gradients."""
    output: Tensor = _Affine.apply(x, weight, bias)
    return output


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply x [B, in] by weight [out, in] transposed, and add bias [out].

    PyTorch itself calls this operation when it compiles.
    """
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
        product: Callable[[Tensor, Tensor], Tensor] = _product
        # oneDNN's product has no derivative: where one is asked for (create_graph), torch's has.
        if torch.is_grad_enabled():
            product = torch.mm
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            product(slope, weight) if to_x else None,
            product(slope.t(), x) if to_weight else None,
            slope.sum(0) if to_bias else None,
        )
