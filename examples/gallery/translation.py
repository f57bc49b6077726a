"""Translation by a small transformer (Vaswani et al. 2017): numbers in digits to numbers in words."""

import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
WORDS = ["<pad>", "<start>", "<end>", "hundred", "thousand", *ONES, *TENS]
PAD, START, END = range(3)
LONGEST = 16


def spell(number: int) -> list[str]:
    """Write a number below a million in words, as in "forty two thousand seven hundred three"."""
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = spell(number % size) if number % size else []
            return [*spell(number // size), name, *rest]
    if number < 20:
        return [ONES[number]]
    return [TENS[number // 10 - 2], *(spell(number % 10) if number % 10 else [])]


def numbers(count: int) -> list[tuple[Tensor, Tensor]]:
    """Draw different numbers of one to six digits; digits are numbers from 1, words those of WORDS."""
    rng = random.Random(0)
    drawn: dict[int, None] = {}
    while len(drawn) < count:
        drawn[rng.randrange(10 ** rng.randint(1, 6))] = None
    return [(_digits(number), _words(number)) for number in drawn]


def _digits(number: int) -> Tensor:
    return torch.tensor([int(digit) + 1 for digit in str(number)])


def _words(number: int) -> Tensor:
    return torch.tensor([START, *map(WORDS.index, spell(number)), END])


def collate(examples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
    return tuple(
        pad_sequence(list(texts), batch_first=True) for texts in zip(*examples, strict=True)
    )


class Translator(nn.Module):
    """Sources [B, S] and the beginnings of targets [B, T] to scores of the next words, [B, T, words]."""

    def __init__(
        self, width: int = 64, heads: int = 4, depth: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.source = nn.Embedding(11, width, padding_idx=PAD)
        self.target = nn.Embedding(len(WORDS), width, padding_idx=PAD)
        self.places = nn.Parameter(0.1 * torch.randn(LONGEST, width))
        how = {"dim_feedforward": 2 * width, "dropout": dropout, "batch_first": True}
        encoder = nn.TransformerEncoderLayer(width, heads, **how)
        self.encoder = nn.TransformerEncoder(encoder, depth, enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(width, heads, **how), depth)
        self.out = nn.Linear(width, len(WORDS))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        blank = source == PAD
        read = self.source(source) + self.places[: source.shape[1]]
        known = self.encoder(read, src_key_padding_mask=blank)
        length = target.shape[1]
        written = self.target(target) + self.places[:length]
        ahead = torch.ones(length, length, dtype=torch.bool, device=source.device).triu(1)
        states = self.decoder(written, known, tgt_mask=ahead, memory_key_padding_mask=blank)
        return self.out(states)

    def translate(self, source: Tensor, length: int) -> Tensor:
        """Write translations [B, length], each time the likeliest word, and nothing after an end."""
        text = torch.full((len(source), 1), START, device=source.device)
        for _ in range(length - 1):
            word = self(source, text)[:, -1].argmax(dim=1, keepdim=True)
            ended = (text[:, -1:] == END) | (text[:, -1:] == PAD)
            text = torch.cat([text, word.masked_fill(ended, PAD)], dim=1)
        return text


def step(model: Translator, loss: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """Predict the next words; at evaluation, also translate, and tell how many are wholly right."""
    source, target = batch
    output, words = model(source, target[:, :-1]).flatten(0, 1), target[:, 1:].flatten()
    result = {"loss": loss(output, words), "count": (words != PAD).sum()}
    if not model.training:
        right = (model.translate(source, target.shape[1]) == target).all(dim=1)
        result["translated"] = right.float().mean()
    return result
