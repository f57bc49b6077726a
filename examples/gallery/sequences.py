"""Sequences of different lengths: are these brackets balanced?"""

import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

Example = tuple[Tensor, bool]
Batch = dict[str, Tensor]


def brackets(count: int, longest: int = 20) -> list[Example]:
    """Draw texts of round and square brackets, half of them balanced; each as numbers from 1."""
    rng = random.Random(0)
    examples = []
    for number in range(count):
        text = _balanced(rng, rng.randint(1, longest // 2))
        if number % 2:  # one bracket replaced by another
            place = rng.randrange(len(text))
            others = "()[]".replace(text[place], "")
            text = text[:place] + rng.choice(others) + text[place + 1 :]
        examples.append((torch.tensor(["()[]".index(c) + 1 for c in text]), number % 2 == 0))
    return examples


def _balanced(rng: random.Random, pairs: int) -> str:
    if pairs == 0:
        return ""
    inner = rng.randrange(pairs)
    left, right = rng.choice(["()", "[]"])
    return left + _balanced(rng, inner) + right + _balanced(rng, pairs - 1 - inner)


def collate(examples: list[Example]) -> Batch:
    """Fill sequences up with zeros to a batch [B, longest], and keep their lengths."""
    texts, balanced = zip(*examples, strict=True)
    lengths = torch.tensor([len(text) for text in texts])
    padded = pad_sequence(list(texts), batch_first=True)
    return {"text": padded, "length": lengths, "balanced": torch.tensor(balanced).long()}


class LSTM(nn.Module):
    """Read a batch of sequences; the last state of each says its class."""

    def __init__(self, symbols: int = 5, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.out = nn.Linear(width, 2)

    def forward(self, text: Tensor, length: Tensor) -> Tensor:
        embedded = self.embedding(text)
        packed = pack_padded_sequence(
            embedded, length.cpu(), batch_first=True, enforce_sorted=False
        )
        _, (state, _) = self.lstm(packed)
        return self.out(state[-1])


def step(model: LSTM, loss: nn.Module, batch: Batch) -> dict[str, Any]:
    output = model(batch["text"], batch["length"])
    right = output.argmax(dim=1) == batch["balanced"]
    return {"loss": loss(output, batch["balanced"]), "accuracy": right.float().mean()}
