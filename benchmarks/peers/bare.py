"""The best loop over tensors with autograd: all data in memory and ready, nothing but the steps.

It copies each batch into the same memory, updates with one fused kernel, and counts neither loss nor accuracy.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers import tensors
from benchmarks.peers.turns import Turns, arguments, done

BATCH = 128
Step = Callable[[Tensor, Tensor], object]
"""Puts the gradients of a batch into the parameters."""


def network() -> nn.Sequential:
    hidden = [
        nn.Linear(784, 392),
        nn.BatchNorm1d(392),
        nn.ReLU(),
        nn.Linear(392, 196),
        nn.BatchNorm1d(196),
        nn.ReLU(),
    ]
    return nn.Sequential(*hidden, nn.Linear(196, 10))


def by_autograd(model: nn.Module) -> Step:
    def gradients(inputs: Tensor, targets: Tensor) -> None:
        model.zero_grad()
        functional.cross_entropy(model(inputs), targets).backward()

    return gradients


def epoch(gradients: Step, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    inputs, targets = x.new_empty(BATCH, x.shape[1]), y.new_empty(BATCH)
    for indices in torch.randperm(len(x), device=x.device).split(BATCH)[: len(x) // BATCH]:
        torch.index_select(x, 0, indices, out=inputs)
        torch.index_select(y, 0, indices, out=targets)
        gradients(inputs, targets)
        optimizer.step()


def main(gradients_of: Callable[[nn.Sequential], Step] = by_autograd) -> None:
    given = arguments()
    turns = Turns(given.epochs)
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    x, y = (torch.from_numpy(each).to(given.device) for each in tensors.training(given.data))
    model = network().to(given.device)
    optimizer, gradients = (
        torch.optim.Adam(model.parameters(), lr=1e-3, fused=True),
        gradients_of(model),
    )
    for _ in range(given.epochs):
        began = time.perf_counter()
        epoch(gradients, optimizer, x, y)
        turns.trained(done(given.device) - began)
    x, y = (torch.from_numpy(each).to(given.device) for each in tensors.read(given.data, "t10k"))
    with torch.no_grad():
        turns.tested((model.eval()(x).argmax(1) == y).float().mean().item())


if __name__ == "__main__":
    main()
