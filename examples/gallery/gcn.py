"""Graph convolutions: to which community does a node belong, of one graph whose edges are all known?"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout


def communities(count: int, classes: int = 5, features: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a graph: features [N, features], edges as a matrix [N, N], and communities [N].

    A node has about 6 neighbours in its own community and 3 in others, in the mean; its features
    alone say little of where it belongs.
    """
    rng = torch.Generator().manual_seed(0)
    community = torch.arange(count) % classes
    x = torch.randn(count, features, generator=rng)
    x += torch.randn(classes, features, generator=rng)[community] / 4
    degree = torch.where(community[:, None] == community, 6.0 * classes, 0.75 * classes)
    drawn = torch.rand(count, count, generator=rng).triu(1)
    linked = (drawn > 0) & (drawn < degree / count)
    return x, (linked | linked.T).float(), community


def nodes(count: int) -> dict[str, Tensor]:
    """Return the examples, which are the nodes: of each its number and its community."""
    return {"node": torch.arange(count), "community": communities(count)[2]}


class GCN(nn.Module):
    """Numbers of nodes [B] to [B, classes], by two layers over the whole graph (Kipf and Welling 2017)."""

    x: Tensor
    spread: Tensor

    def __init__(
        self, count: int, classes: int = 5, width: int = 16, dropout: float = 0.5,
        edges: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        x, linked, _ = communities(count, classes)
        linked = linked * edges + torch.eye(count)
        scale = linked.sum(dim=1).rsqrt()
        self.register_buffer("x", x, persistent=False)
        self.register_buffer("spread", scale[:, None] * linked * scale, persistent=False)
        self.first = nn.Linear(x.shape[1], width)
        self.second = nn.Linear(width, classes)
        self.dropout = dropout

    def forward(self, node: Tensor) -> Tensor:
        x = (self.spread @ self.first(self.x)).relu()
        x = dropout(x, self.dropout, self.training)
        return (self.spread @ self.second(x))[node]


def step(model: nn.Module, loss: nn.Module, batch: dict[str, Tensor]) -> dict[str, Any]:
    output = model(batch["node"])
    right = output.argmax(dim=1) == batch["community"]
    return {"loss": loss(output, batch["community"]), "accuracy": right.float().mean()}
