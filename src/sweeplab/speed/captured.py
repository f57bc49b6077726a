"""Forward and backward pass of a step, captured once and replayed: a tape on a CPU, a graph on a GPU.

Results have the same bits, which is proven: some batches are computed in both ways, and losses,
outputs, gradients, buffers and the state of the random generators are compared. Where they differ,
and where a class of the user's own takes part, which may compute something else in another step,
nothing is captured. Off with SWEEPLAB_PLAIN=1.

Together with `adam`, on an AMD EPYC (AVX2), a step of the default network takes 0.82 of its time without
them, with one hidden layer of 64 0.70, of 16 0.67, on one thread as on two (medians of 25 rounds of 20
steps in turn, `python -m benchmarks.captured`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sweeplab import speed
from sweeplab.speed.cuda_graph import Graph
from sweeplab.speed.same_bits import same_bits
from sweeplab.speed.tape import Passes, Result, Tape

WARM_UP = 3  # steps before the capture, in which libraries load their kernels
PROOFS = 3  # batches that are computed in both ways
PACKAGES = ("torch", "sweeplab")  # whose modules compute the same operations in each step

log = logging.getLogger(__name__)


class HasPasses(Protocol):
    """What is trained: both passes of a step, and the tensors that these change or read."""

    @property
    def parameters(self) -> Sequence[Tensor]: ...
    @property
    def trained(self) -> Sequence[Tensor]: ...
    @property
    def buffers(self) -> Sequence[Tensor]: ...
    @property
    def passes(self) -> Passes: ...


class Captured(Protocol):
    """Both passes for batches of one shape."""

    def fits(self, inputs: Tensor, targets: Tensor) -> bool:
        """Tell whether a batch is like the one that was captured."""

    def replay(self, inputs: Tensor, targets: Tensor) -> Result:
        """Leave the gradients of a batch in the parameters; returns the loss and the outputs."""


def pays_off(device: torch.device, model: nn.Module, loss: nn.Module) -> bool:
    """Tell whether the passes of this network can be tried so."""
    if speed.is_plain() or device.type not in ("cpu", "cuda"):
        return False
    modules = [*model.modules(), *loss.modules()]
    return all(type(module).__module__.split(".")[0] in PACKAGES for module in modules)


class CapturedGradients:
    """Compute the gradients of a batch by what was captured, once that is proven."""

    def __init__(
        self, eager: Callable[[Any, Tensor, Tensor], Result], warm_up: int = WARM_UP
    ) -> None:
        """`eager` adds the gradients to the parameters', and returns loss and outputs, detached."""
        self._eager, self._warm_up = eager, warm_up
        self._steps = 0
        self._proofs = 0
        self._captured: Captured | None = None

    def __call__(self, state: HasPasses, inputs: Tensor, targets: Tensor) -> Result:
        """Leave the gradients of a batch in the parameters; returns the loss and the outputs."""
        captured = self._captured
        if captured is not None and captured.fits(inputs, targets):
            if self._proofs == PROOFS:
                return captured.replay(inputs, targets)
            return self._prove(state, inputs, targets)
        self._steps += 1
        if self._steps == self._warm_up:
            return self._prove(state, inputs, targets)
        return self._eager(state, inputs, targets)

    def _prove(self, state: HasPasses, inputs: Tensor, targets: Tensor) -> Result:
        """Compute a batch in both ways, and keep the capture if all bits are the same."""
        before = _Moment(state.buffers, inputs.device)
        result = self._eager(state, inputs, targets)
        gradients = [parameter.grad for parameter in state.trained]
        after = _Moment(state.buffers, inputs.device)
        try:
            if self._captured is None:
                before.restore()
                self._captured = _capture(state, inputs, targets)
            before.restore()
            found = self._captured.replay(inputs, targets)
        except Exception as error:  # whatever it is, the same batch was computed without
            log.info("a step cannot be captured: %s", error)
        else:
            found_gradients = [parameter.grad for parameter in state.trained]
            expected = [*_flat(result), *gradients, *after.values]
            replayed = [*_flat(found), *found_gradients]
            replayed += _Moment(state.buffers, inputs.device).values
            if not _are_apart(found_gradients, state.trained):
                log.info("gradients of a captured step share memory: computed without")
            elif not all(map(same_bits, replayed, expected)):
                log.info("a captured step has other bits: computed without")
            else:
                self._proofs += 1
                return result
        self._captured = None
        after.restore()
        for parameter, gradient in zip(state.trained, gradients, strict=True):
            parameter.grad = gradient
        return result


def _capture(state: HasPasses, inputs: Tensor, targets: Tensor) -> Captured:
    """Capture both passes; raises RuntimeError where that cannot be done."""
    if inputs.device.type == "cpu":
        return Tape(state.passes, state.trained, inputs, targets)
    held = [*state.parameters, *state.buffers]
    return Graph(state.passes, state.trained, held, inputs, targets)


def _flat(result: Result) -> list[Tensor]:
    """List loss and outputs, of each where they are those of several networks."""
    flat: list[Tensor] = []
    for part in result:
        flat += [part] if isinstance(part, Tensor) else part
    return flat


def _are_apart(gradients: Sequence[Tensor | None], trained: Sequence[Tensor]) -> bool:
    """Tell whether each gradient has memory of its own, laid out as its parameter's.

    autograd makes sure of it where it adds gradients to the parameters'. An optimizer, or clipping,
    may change them in place.
    """
    places = set()
    for gradient, parameter in zip(gradients, trained, strict=True):
        if gradient is None:
            continue
        if gradient.layout != torch.strided or gradient.stride() != parameter.stride():
            return False
        if gradient.data_ptr() in places:
            return False
        places.add(gradient.data_ptr())
    return True


class _Moment:
    """What a step changes besides gradients: the buffers, and the random generators of torch."""

    def __init__(self, buffers: Sequence[Tensor], device: torch.device) -> None:
        self._buffers, self._device = buffers, device
        self.values = [buffer.clone() for buffer in buffers]
        self.values.append(torch.get_rng_state())
        if device.type == "cuda":
            self.values.append(torch.cuda.get_rng_state(device))

    def restore(self) -> None:
        """Put all back to what it was then."""
        count = len(self._buffers)
        for buffer, value in zip(self._buffers, self.values[:count], strict=True):
            buffer.copy_(value)
        on_cpu, *on_device = self.values[count:]
        torch.set_rng_state(on_cpu)
        for state in on_device:
            torch.cuda.set_rng_state(state, self._device)
