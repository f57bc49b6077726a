"""Data: fetched and verified, split, in memory on the device, in batches."""

from sweeplab.data.batches import Batches
from sweeplab.data.sources import MNIST, Diabetes, Digits, FashionMNIST
from sweeplab.data.splits import Facts, Held, Split, Splits, Streamed, facts, load, supplied

__all__ = [
    "MNIST",
    "Batches",
    "Diabetes",
    "Digits",
    "Facts",
    "FashionMNIST",
    "Held",
    "Split",
    "Splits",
    "Streamed",
    "facts",
    "load",
    "supplied",
]
