"""Forward and backward pass of a step on a CPU as a tape: the tensor operations, one after the other.

A step of a small network spends more time in torch.nn, in autograd and in Python than in arithmetic.
A tape is a function of nothing but the operations that one step called, in their order, each on the
results of those before it. It lets go of what it no longer needs, as autograd does.

What is gained, when it is used, and how it is switched off: see `captured`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Result = tuple[Any, Any]
"""Loss and outputs of a batch: a tensor each, or of several networks a list of tensors each."""

Passes = Callable[[Tensor, Tensor], tuple[Any, Any, Sequence[Tensor | None]]]
"""Forward and backward pass: a batch -> loss, outputs, and the gradients of what is trained."""
ALIAS = torch.ops.aten.detach.default  # the same numbers in the same memory: no line is needed


class Tape:
    """Both passes for batches of one shape."""

    def __init__(
        self, passes: Passes, trained: Sequence[Tensor], inputs: Tensor, targets: Tensor
    ) -> None:
        """Record what `passes` does with a batch; its gradients are those of `trained`.

        Raises RuntimeError where an operation returns a number: what follows may depend on it.
        """
        with _Recorder() as recorder:
            loss, output, gradients = passes(inputs, targets)
        self._trained = trained
        self._shapes = _shapes(inputs, targets)
        program = _Program((inputs, targets))
        for call in recorder.calls:
            program.add(call)
        self._run = program.compiled([loss, output, *gradients])

    def fits(self, inputs: Tensor, targets: Tensor) -> bool:
        """Tell whether a batch is like the one that was recorded."""
        return _shapes(inputs, targets) == self._shapes

    def replay(self, inputs: Tensor, targets: Tensor) -> Result:
        """Leave the gradients of a batch in the parameters; returns the loss and the outputs."""
        with torch.no_grad():
            loss, output, *gradients = self._run(inputs, targets)
        for parameter, gradient in zip(self._trained, gradients, strict=True):
            parameter.grad = gradient
        return loss, output


def _shapes(*batch: Tensor) -> list[tuple[torch.Size, torch.dtype]]:
    return [(tensor.shape, tensor.dtype) for tensor in batch]


class _Call(NamedTuple):
    """An operation as it was called, and what it returned."""

    operation: Any
    arguments: Sequence[Any]
    named: Mapping[str, Any]
    returned: Any


class _Recorder(TorchDispatchMode):
    """Keep all operations that are called meanwhile, autograd's included, and what they return.

    As long as that is kept, no other tensor has its `id`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[_Call] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # torch's names
        returned = func(*args, **(kwargs or {}))
        self.calls.append(_Call(func, args, kwargs or {}, returned))
        return returned


class _Line(NamedTuple):
    source: str
    made: list[str]  # names of the tensors that it makes
    used: list[str]  # names of those that it takes


class _Program:
    """The source of a function of a batch, a line for each operation.

    Tensors that no line makes, as parameters, and all arguments that are no tensors are held by name.
    """

    def __init__(self, batch: Sequence[Tensor]) -> None:
        self._batch = [f"batch_{number}" for number in range(len(batch))]
        self._names = {id(tensor): name for tensor, name in zip(batch, self._batch, strict=True)}
        self._held: dict[str, Any] = {}
        self._lines: list[_Line] = []
        self._made = 0

    def add(self, call: _Call) -> None:
        """Write the line of an operation."""
        if call.operation is ALIAS:
            self._names[id(call.returned)] = self._name(call.arguments[0])
            return
        used: list[str] = []
        arguments = [self._argument(value, used) for value in call.arguments]
        for name, value in call.named.items():
            arguments.append(f"{name}={self._argument(value, used)}")
        # What an overload calls: one frame of Python less
        function = self._hold(getattr(call.operation, "_op", call.operation))
        made: list[str] = []
        target = self._target(call, made)
        self._lines.append(_Line(f"{target}{function}({', '.join(arguments)})", made, used))

    def compiled(self, results: Sequence[Any]) -> Callable[..., Sequence[Any]]:
        """Return the function, which returns these of the values."""
        used: list[str] = []
        body = [f"return {self._argument(list(results), used)}"]
        needed = set(used)
        for line in reversed(self._lines):
            names = dict.fromkeys([*line.made, *line.used])
            unneeded = [name for name in names if name not in needed]
            if unneeded:
                body.append(f"del {', '.join(unneeded)}")
            needed.update(unneeded)
            body.append(line.source)
        head = f"def run({', '.join(self._batch)}):"
        source = "\n    ".join([head, *reversed(body)])
        exec(source, self._held)  # noqa: S102  # names and calls, all written above
        run: Callable[..., Sequence[Any]] = self._held["run"]
        return run

    def _name(self, tensor: Tensor) -> str:
        if id(tensor) not in self._names:
            self._names[id(tensor)] = self._hold(tensor)
        return self._names[id(tensor)]

    def _hold(self, value: Any) -> str:
        name = f"held_{len(self._held)}"
        self._held[name] = value
        return name

    def _argument(self, value: Any, used: list[str]) -> str:
        if isinstance(value, Tensor):
            name = self._name(value)
            if name not in self._held:
                used.append(name)
            return name
        if isinstance(value, list | tuple):
            return f"[{', '.join(self._argument(item, used) for item in value)}]"
        return self._hold(value)

    def _target(self, call: _Call, made: list[str]) -> str:
        """Return the left side of a line; `made` gets the names in it."""
        returned = call.returned
        if isinstance(returned, Tensor):
            if id(returned) in self._names:  # changed in place
                return ""
            made.append(self._new_name(returned))
            return f"{made[0]} = "
        if not isinstance(returned, list | tuple):
            if returned is None:
                return ""
            raise RuntimeError(f"{call.operation} gives a number")
        made.extend(self._new_name(value) for value in returned)
        return f"{', '.join(made)}, = " if made else ""

    def _new_name(self, value: Any) -> str:
        self._made += 1
        name = f"made_{self._made}"
        if isinstance(value, Tensor):
            self._names.setdefault(id(value), name)
        return name
