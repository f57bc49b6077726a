"""A graph network: is a graph a ring with shortcuts, or did it grow by preferential attachment?"""

import random
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

Edges = list[tuple[int, int]]
Batch = dict[str, Tensor]


def graphs(count: int) -> list[dict[str, Any]]:
    """Draw graphs of 10 to 20 nodes, with twice as many edges, of two kinds."""
    rng = random.Random(0)
    examples = []
    for kind in range(count):
        size = rng.randint(10, 20)
        edges = _grown(rng, size) if kind % 2 else _ring(rng, size)
        examples.append({"size": size, "edges": torch.tensor(edges).T, "kind": kind % 2})
    return examples


def _ring(rng: random.Random, size: int) -> Edges:
    near = [(n, (n + step) % size) for n in range(size) for step in (1, 2)]
    return [(a, rng.randrange(size)) if rng.random() < 0.2 else (a, b) for a, b in near]


def _grown(rng: random.Random, size: int) -> Edges:
    edges = [(0, 1), (1, 2), (2, 0)]
    for node in range(3, size):
        for _ in range(2):
            edges.append((node, rng.choice(rng.choice(edges))))
    return edges


def collate(examples: list[dict[str, Any]]) -> Batch:
    """Make one graph of many, whose parts are not connected: `graph` [nodes] says whose each is."""
    sizes = torch.tensor([example["size"] for example in examples])
    starts = sizes.cumsum(0) - sizes
    shifted = [example["edges"] + start for example, start in zip(examples, starts, strict=True)]
    return {
        "edges": torch.cat(shifted, dim=1),
        "graph": torch.arange(len(examples)).repeat_interleave(sizes),
        "kind": torch.tensor([example["kind"] for example in examples]),
    }


class GCN(nn.Module):
    """Graph convolutions (Kipf and Welling 2017), and the mean over the nodes of each graph."""

    def __init__(self, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        widths = [1] + [width] * depth
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.out = nn.Linear(width, 2)

    def forward(self, edges: Tensor, graph: Tensor) -> Tensor:
        loops = torch.arange(len(graph), device=graph.device).expand(2, -1)
        source, target = torch.cat([edges, edges.flip(0), loops], dim=1)
        degree = target.bincount().float()
        weight = (degree[source] * degree[target]).rsqrt()[:, None]
        x = degree[:, None] - 5  # what is known of a node; 5 is the mean
        for layer in self.layers:
            x = layer(x)
            messages = weight * x[source]
            x = messages.new_zeros(x.shape).index_add(0, target, messages).relu()
        sizes = graph.bincount()[:, None]
        return self.out(x.new_zeros(len(sizes), x.shape[1]).index_add(0, graph, x) / sizes)


def step(model: GCN, loss: nn.Module, batch: Batch) -> dict[str, Any]:
    output = model(batch["edges"], batch["graph"])
    right = output.argmax(dim=1) == batch["kind"]
    return {"loss": loss(output, batch["kind"]), "accuracy": right.float().mean()}
