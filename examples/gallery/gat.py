"""Graph attention (Velickovic et al. 2018) on the graph of gcn.py: each node weighs its neighbours."""

import torch
from gcn import communities
from torch import Tensor, nn
from torch.nn.functional import dropout, elu, leaky_relu


class Attention(nn.Module):
    """Features [N, features] to [heads, N, width]: means over neighbours, weighted by attention."""

    def __init__(self, features: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.values = nn.Parameter(nn.init.xavier_normal_(torch.empty(heads, features, width)))
        self.of_source = nn.Parameter(nn.init.xavier_normal_(torch.empty(heads, width, 1)))
        self.of_target = nn.Parameter(nn.init.xavier_normal_(torch.empty(heads, width, 1)))
        self.dropout = dropout

    def forward(self, x: Tensor, apart: Tensor) -> Tensor:
        x = dropout(x, self.dropout, self.training) @ self.values
        score = leaky_relu(x @ self.of_target + (x @ self.of_source).mT, 0.2)
        weight = score.masked_fill(apart, -torch.inf).softmax(dim=2)
        return dropout(weight, self.dropout, self.training) @ x


class GAT(nn.Module):
    """Numbers of nodes [B] to [B, classes], by two layers over the whole graph."""

    x: Tensor
    apart: Tensor

    def __init__(
        self, count: int, classes: int = 5, width: int = 8, heads: int = 4, dropout: float = 0.5
    ) -> None:
        super().__init__()
        x, linked, _ = communities(count, classes)
        self.register_buffer("x", x, persistent=False)
        apart = (linked + torch.eye(count)) == 0
        self.register_buffer("apart", apart, persistent=False)
        self.first = Attention(x.shape[1], width, heads, dropout)
        self.second = Attention(heads * width, classes, heads, dropout)

    def forward(self, node: Tensor) -> Tensor:
        heads = elu(self.first(self.x, self.apart))
        x = torch.cat(list(heads), dim=1)
        return self.second(x, self.apart).mean(dim=0)[node]
