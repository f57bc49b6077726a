"""Data: fetched and verified, split, in memory on the device, in batches."""

from sweeplab.data.batches import Batches, Shift
from sweeplab.data.shared import Layout, Shared, can_be_shared, mapped, share
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
    "Layout",
    "Shared",
    "Shift",
    "Split",
    "Splits",
    "Streamed",
    "can_be_shared",
    "facts",
    "load",
    "mapped",
    "share",
    "supplied",
]
