"""Plain PyTorch, as its MNIST example is: torchvision's dataset and transforms, a DataLoader, the loop.

Its own argument: the number of the DataLoader's workers (default 0, as the example has it without a GPU).
"""

from __future__ import annotations

import time

import torch
from torch import nn
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms

from benchmarks.peers.turns import Turns, arguments, done


def train(
    model: nn.Module, loader: DataLoader[tuple[torch.Tensor, int]], optimizer: torch.optim.Optimizer
) -> None:
    model.train()
    device = next(model.parameters()).device
    for batch, (inputs, targets) in enumerate(loader):
        inputs, targets = inputs.to(device), targets.to(device)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        if batch % 100 == 0:
            print(f"batch {batch}/{len(loader)}  loss {loss.item():.4f}")


@torch.no_grad()
def test(model: nn.Module, loader: DataLoader[tuple[torch.Tensor, int]]) -> float:
    model.eval()
    device = next(model.parameters()).device
    correct = sum((model(x.to(device)).argmax(1) == y.to(device)).sum().item() for x, y in loader)
    return correct / 10_000


def main() -> None:
    given = arguments()
    turns = Turns(given.epochs)
    workers = int(*given.more)
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    )
    both = datasets.MNIST(given.data, train=True, transform=transform)
    _, examples = random_split(both, [5_000, 55_000], torch.Generator().manual_seed(0))
    loader = DataLoader(
        examples,
        128,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    hidden = [
        nn.Linear(784, 392),
        nn.BatchNorm1d(392),
        nn.ReLU(),
        nn.Linear(392, 196),
        nn.BatchNorm1d(196),
        nn.ReLU(),
    ]
    model = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(196, 10)).to(given.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(given.epochs):
        began = time.perf_counter()
        train(model, loader, optimizer)
        turns.trained(done(given.device) - began)
    turns.tested(
        test(model, DataLoader(datasets.MNIST(given.data, train=False, transform=transform), 1000))
    )


if __name__ == "__main__":
    main()
