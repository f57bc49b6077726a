"""A language model of characters."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

TEXT = """\
Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date;
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance or nature's changing course untrimm'd;
But thy eternal summer shall not fade,
Nor lose possession of that fair thou ow'st;
Nor shall death brag thou wander'st in his shade,
When in eternal lines to time thou grow'st:
So long as men can breathe or eyes can see,
So long lives this, and this gives life to thee.

Let me not to the marriage of true minds
Admit impediments. Love is not love
Which alters when it alteration finds,
Or bends with the remover to remove:
O no! it is an ever-fixed mark
That looks on tempests and is never shaken;
It is the star to every wandering bark,
Whose worth's unknown, although his height be taken.
Love's not Time's fool, though rosy lips and cheeks
Within his bending sickle's compass come:
Love alters not with his brief hours and weeks,
But bears it out even to the edge of doom.
If this be error and upon me proved,
I never writ, nor no man ever loved.
"""  # William Shakespeare, sonnets 18 and 116
SYMBOLS = sorted(set(TEXT))


def windows(length: int) -> tuple[Tensor, Tensor]:
    """Cut the text into windows [N, length] that do not overlap; targets are one symbol ahead."""
    codes = torch.tensor([SYMBOLS.index(symbol) for symbol in TEXT])
    count = (len(codes) - 1) // length
    return codes[: count * length].view(count, length), codes[1 : count * length + 1].view(
        count, length
    )


class Model(nn.Module):
    """[B, T] symbols to [B, T, symbols] scores of the next ones."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(SYMBOLS), width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.dropout = nn.Dropout(0.3)
        self.out = nn.Linear(width, len(SYMBOLS))

    def forward(self, text: Tensor) -> Tensor:
        states, _ = self.gru(self.embedding(text))
        return self.out(self.dropout(states))


def step(model: Model, loss: nn.Module, batch: Any) -> dict[str, Any]:
    """Predict the next symbols; at evaluation, also let the model write."""
    text, following = batch
    output, target = model(text).flatten(0, 1), following.flatten()
    result = {"loss": loss(output, target), "output": output, "target": target}
    if not model.training:
        result["written"] = write(model, text[:1, :8])
    return result


def write(model: Model, text: Tensor, count: int = 80) -> str:
    """Go on with a text [1, T] by the likeliest symbol, `count` times."""
    for _ in range(count):
        text = torch.cat([text, model(text)[:, -1].argmax(dim=1, keepdim=True)], dim=1)
    return "".join(SYMBOLS[code] for code in text[0].tolist())


class Perplexity:
    """The exponential of the mean loss of a symbol: among how many the model wavers."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.loss, self.symbols = 0.0, 0

    def update(self, output: Tensor, target: Tensor) -> None:
        self.loss += float(functional.cross_entropy(output, target, reduction="sum"))
        self.symbols += target.numel()

    def compute(self) -> Tensor:
        return torch.tensor(self.loss / self.symbols).exp()
