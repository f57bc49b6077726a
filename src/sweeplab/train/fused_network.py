"""Several networks of the same layers, computed as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sweeplab.speed import onednn
from sweeplab.train.train_state import TrainState

Layer = Callable[[Tensor], Tensor]


def layers_of(model: nn.Module) -> list[nn.Module]:
    """Return the layers of an MLP, or a single layer as a list."""
    if isinstance(model, nn.Sequential):
        return list(model)
    return [model]


class FusedNetwork:
    """Several networks as one: their weights lie side by side in memory until the context ends.

    `one_product`: their first linear layers, which share the inputs, are one product. A library may
    add up such wide products in another order.
    """

    def __init__(self, states: Sequence[TrainState], *, one_product: bool) -> None:
        self._states = states
        self._joined: list[tuple[Tensor, list[Tensor]]] = []  # the whole, and its parts
        self._norms: list[nn.BatchNorm1d] = []
        networks = [layers_of(state.model) for state in states]
        positions = [list(layers) for layers in zip(*networks, strict=True)]
        first, *further = positions
        self._layers = [self._first(first, one_product), *map(self._further, further)]
        self._find_tensors()

    def __enter__(self) -> FusedNetwork:
        return self

    def __exit__(self, *_: object) -> None:
        for _whole, parts in self._joined:
            for part in parts:
                part.data = part.data.clone()

    def gradients(self, inputs: Tensor, targets: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Leave the gradients of a batch in the parameters, and update BatchNorm's statistics.

        Returns the losses and the outputs of the networks.
        """
        losses, outputs, gradients = self.passes(inputs, targets)
        for parameter, gradient in zip(self.trained, gradients, strict=True):
            parameter.grad = gradient
        return losses, outputs

    def passes(
        self, inputs: Tensor, targets: Tensor
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Compute the losses and the outputs of the networks, and the gradients of `trained`."""
        wide = inputs
        for layer in self._layers:
            wide = layer(wide)
        outputs = _split(wide, wide.shape[-1] // len(self._states), -1)
        losses = []
        for state, output in zip(self._states, outputs, strict=True):
            losses.append(state.loss(output, targets))
        gradients: list[Tensor] = []
        for gradient, parts in zip(
            torch.autograd.grad(losses, self.parameters), self._parts, strict=True
        ):
            gradients += _split(gradient, len(parts[0])) if len(parts) > 1 else [gradient]
        for norm in self._norms:
            norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]  # which an MLP's have
        # No graph of autograd is to live on: a CUDA graph of the next step could not be captured
        losses = [loss.detach() for loss in losses]
        return losses, [output.detach() for output in outputs], gradients

    def _find_tensors(self) -> None:
        """Find what gradients are computed of, which parameters each stands for, and the statistics."""
        self.parameters: list[Tensor] = []
        self.buffers: list[Tensor] = []
        for norm in self._norms:
            assert norm.num_batches_tracked is not None  # an MLP's have it
            self.buffers.append(norm.num_batches_tracked)
        self._parts: list[list[Tensor]] = []
        joined: set[int] = set()
        for whole, parts in self._joined:
            joined.update(map(id, parts))
            if whole.requires_grad:
                self.parameters.append(whole)
                self._parts.append(parts)
            else:
                self.buffers.append(whole)
        for state in self._states:
            for parameter in state.trained:
                if id(parameter) not in joined:
                    self.parameters.append(parameter)
                    self._parts.append([parameter])
        self.trained: list[Tensor] = [part for parts in self._parts for part in parts]

    def _join(self, parts: list[Tensor]) -> Tensor:
        """Lay tensors side by side in memory, and return the whole."""
        whole = torch.cat([part.data for part in parts]).requires_grad_(parts[0].requires_grad)
        for part, view in zip(parts, _split(whole.data, len(parts[0])), strict=True):
            part.data = view
        self._joined.append((whole, parts))
        return whole

    def _first(self, layers: Sequence[Any], one_product: bool) -> Layer:
        """Build the first layer, a linear one: one product over the shared inputs, or several."""
        if not one_product:
            return lambda x: torch.cat([layer(x) for layer in layers], -1)
        product = onednn.affine if type(layers[0]) is onednn.Linear else functional.linear
        weight = self._join([layer.weight for layer in layers])
        bias = None if layers[0].bias is None else self._join([layer.bias for layer in layers])
        return lambda x: product(x, weight, bias)

    def _further(self, layers: Sequence[Any]) -> Layer:
        """Build a later layer, from and to [B, number of networks * width of one]."""
        if isinstance(layers[0], nn.Linear):
            return self._linear(layers)
        if isinstance(layers[0], nn.BatchNorm1d):
            return self._norm(layers)
        activation: Layer = layers[0]
        return activation

    def _linear(self, layers: Sequence[nn.Linear]) -> Layer:
        width = layers[0].in_features

        def compute(x: Tensor) -> Tensor:
            inputs = zip(layers, _split(x, width, -1), strict=True)
            return torch.cat([layer(part.contiguous()) for layer, part in inputs], -1)

        return compute

    def _norm(self, layers: Sequence[Any]) -> Layer:
        self._norms += layers
        mean = self._join([layer.running_mean for layer in layers])
        variance = self._join([layer.running_var for layer in layers])
        weight = self._join([layer.weight for layer in layers])
        bias = self._join([layer.bias for layer in layers])
        momentum, eps = layers[0].momentum, layers[0].eps
        assert momentum is not None
        return lambda x: functional.batch_norm(x, mean, variance, weight, bias, True, momentum, eps)


def _split(tensor: Tensor, size: int, dim: int = 0) -> Sequence[Tensor]:
    parts: Sequence[Tensor] = tensor.split(size, dim)
    return parts
