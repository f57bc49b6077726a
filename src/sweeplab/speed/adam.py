"""torch's fused Adam and AdamW without the Python that looks up their arguments anew in each step.

`Optimizer.step` collects parameters, gradients and moments, groups them by device and type, and enters
a record of the profiler. For a small network that takes longer than the update itself. Here the lists
of a group are made once, and the same kernel is called with them.

Gain: see `captured`. Results have the same bits. Off with SWEEPLAB_PLAIN=1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, optim

from sweeplab import speed

OPTIONS = ("lr", "weight_decay", "eps", "amsgrad", "maximize")
"""What the kernel takes of a group by the same names. A schedule may change some in each step."""


def use(optimizer: optim.Optimizer) -> None:
    """Let an Adam or AdamW of torch step so, if it is a fused one; else nothing changes."""
    own = {optim.Adam: Adam, optim.AdamW: AdamW}.get(type(optimizer))
    if own is None or speed.is_plain():
        return
    for group in optimizer.param_groups:
        kinds = {(parameter.device.type, parameter.dtype) for parameter in group["params"]}
        one_kind = len(kinds) == 1 and next(iter(kinds))[0] in ("cpu", "cuda")
        if not (one_kind and group["fused"]) or group["capturable"]:
            return
    optimizer.__class__ = own


class _Lists(NamedTuple):
    """What the kernel takes of a group beside gradients and options, in the order of its parameters."""

    parameters: list[Tensor]
    counts: Tensor  # the steps as one tensor, of which each of them is an element
    averages: list[Tensor]
    squares: list[Tensor]
    largest: list[Tensor]
    steps: list[Tensor]


class _Prepared(NamedTuple):
    """The lists of all groups."""

    state: Mapping[Any, Any]  # of which they are; one that is loaded is another
    groups: list[_Lists]


# Not an attribute of the optimizer, which a checkpoint would keep
_prepared: WeakKeyDictionary[optim.Optimizer, _Prepared] = WeakKeyDictionary()


class _Direct(optim.Optimizer):
    """The step of both; whatever is not as usual is left to torch's own."""

    kernel: Callable[..., None]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update by the gradients; `closure`, if there is one, makes them and returns the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        prepared = _prepared.get(self)
        if prepared is not None and prepared.state is self.state and self._update(prepared.groups):
            return loss
        super().step()
        self._prepare()
        return loss

    def _prepare(self) -> None:
        """Make the lists, once each parameter has had an update."""
        groups = []
        for group in self.param_groups:
            states = [self.state.get(parameter, {}) for parameter in group["params"]]
            if not all(states):
                return
            names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step")
            # One addition for all of them: for each by itself it takes 2 to 4 % of a step
            counts = torch.stack([state["step"] for state in states])
            for number, state in enumerate(states):
                state["step"] = counts[number]
            moments = [[state[name] for state in states if name in state] for name in names]
            groups.append(_Lists(group["params"], counts, *moments))
        _prepared[self] = _Prepared(self.state, groups)

    def _update(self, groups: Sequence[_Lists]) -> bool:
        """Call the kernel for each group; False, and nothing is done, where something is unusual."""
        if self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks:
            return False
        if hasattr(self, "grad_scale") or hasattr(self, "found_inf"):  # of a GradScaler
            return False
        all_gradients = []
        for group in groups:
            gradients = [parameter.grad for parameter in group.parameters]
            if any(gradient is None or gradient.is_sparse for gradient in gradients):
                return False
            all_gradients.append(gradients)
        with torch.no_grad():
            each = zip(self.param_groups, groups, all_gradients, strict=True)
            for options, group, gradients in each:
                beta1, beta2 = options["betas"]
                group.counts.add_(1)
                type(self).kernel(
                    group.parameters,
                    gradients,
                    group.averages,
                    group.squares,
                    group.largest,
                    group.steps,
                    beta1=beta1,
                    beta2=beta2,
                    grad_scale=None,
                    found_inf=None,
                    **{name: options[name] for name in OPTIONS},
                )
        return True


# torch wraps a step that lacks this in what calls hooks and the profiler, when a state is loaded
_Direct.step.hooked = True  # type: ignore[attr-defined]


class Adam(_Direct, optim.Adam):
    """torch.optim.Adam, by the same name: an optimizer that loads a state keeps its class's in it."""

    kernel = staticmethod(torch._fused_adam_)


class AdamW(_Direct, optim.AdamW):
    """torch.optim.AdamW."""

    kernel = staticmethod(torch._fused_adamw_)
