"""Pairs of sentences: does the second follow from the first, contradict it, or neither?"""

import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

MORE_GENERAL = {  # who, what, where
    "a man": "an adult", "a woman": "an adult", "a boy": "a child", "a girl": "a child",
    "an adult": "someone", "a child": "someone",
    "plays the piano": "makes music", "sings": "makes music", "swims": "does sports",
    "rides a bicycle": "does sports", "bakes bread": "cooks", "fries an egg": "cooks",
    "makes music": "is busy", "does sports": "is busy", "cooks": "is busy",
    "in the kitchen": "indoors", "in the hall": "indoors", "in the park": "outdoors",
    "in the garden": "outdoors", "indoors": "", "outdoors": "",
}  # fmt: skip
ROOTS = ("someone", "is busy", "")
FOLLOWS, NEITHER, CONTRADICTS = range(3)
WORDS = sorted({word for term in [*MORE_GENERAL, *ROOTS] for word in term.split()})
Sentence = tuple[str, ...]  # who, what, where


def _line(term: str) -> list[str]:
    """Return a term and all that are more general, up to the root."""
    return [term, *_line(MORE_GENERAL[term])] if term in MORE_GENERAL else [term]


TERMS = [[term for term in [*MORE_GENERAL, root] if root in _line(term)] for root in ROOTS]


def pairs(count: int) -> list[dict[str, Any]]:
    """Draw pairs of sentences, all different, and as many of each kind; words are numbers from 1."""
    rng = random.Random(0)
    drawn: dict[tuple[Sentence, Sentence], int] = {}
    while len(drawn) < count:
        first = tuple(map(rng.choice, TERMS))
        near = [rng.choice([_line(term), terms]) for term, terms in zip(first, TERMS, strict=True)]
        second = tuple(map(rng.choice, near))
        if relation(first, second) == len(drawn) % 3:
            drawn[first, second] = len(drawn) % 3
    return [
        {"first": _codes(first), "second": _codes(second), "kind": kind}
        for (first, second), kind in drawn.items()
    ]


def relation(first: Sentence, second: Sentence) -> int:
    """Say what the second sentence is to the first."""
    kinds = []
    for said, claimed in zip(first, second, strict=True):
        if claimed in _line(said):
            kinds.append(FOLLOWS)
        else:
            kinds.append(NEITHER if said in _line(claimed) else CONTRADICTS)
    return max(kinds)


def _codes(sentence: Sentence) -> Tensor:
    return torch.tensor([WORDS.index(word) + 1 for word in " ".join(sentence).split()])


def collate(examples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Put all sentences into one batch, the first ones [B, longest] before the second ones."""
    texts = [example[name] for name in ("first", "second") for example in examples]
    return {
        "text": pad_sequence(texts, batch_first=True),
        "length": torch.tensor([len(text) for text in texts]),
        "kind": torch.tensor([example["kind"] for example in examples]),
    }


class Classifier(nn.Module):
    """One LSTM reads the sentences in both directions; of what it knows of two the kind is told."""

    def __init__(self, width: int = 32, dropout: float = 0.2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS) + 1, width)
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.out = nn.Sequential(
            nn.Linear(4 * width, 2 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(2 * width, 3)
        )

    def forward(self, text: Tensor, length: Tensor) -> Tensor:
        embedded = self.embedding(text)
        packed = pack_padded_sequence(
            embedded, length.cpu(), batch_first=True, enforce_sorted=False
        )
        _, (states, _) = self.lstm(packed)
        first, second = torch.cat(list(states), dim=1).chunk(2)
        return self.out(torch.cat([first, second], dim=1))


def step(
    model: Classifier, loss: nn.Module, batch: dict[str, Tensor], blind: bool = False
) -> dict[str, Any]:
    """Tell the kinds of pairs; if `blind`, without a word of the first sentences, as a check."""
    text, kind = batch["text"].clone(), batch["kind"]
    if blind:
        text[: len(kind)] = 0
    output = model(text, batch["length"])
    right = output.argmax(dim=1) == kind
    return {"loss": loss(output, kind), "accuracy": right.float().mean()}
