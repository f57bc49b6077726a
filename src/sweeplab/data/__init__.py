"""Data: fetched and verified, split, in memory on the device or streamed, in batches."""

from sweeplab.data.batches import Batches, Shift
from sweeplab.data.checks import called, nodes, problems
from sweeplab.data.further import as_delivered, as_picture, inputs_of, read_picture
from sweeplab.data.loading import class_names, facts, load, supplied_arguments
from sweeplab.data.pictures import CIFAR10, ImageFolder, TorchVision
from sweeplab.data.scaling import blank_pixel
from sweeplab.data.shared import Layout, Shared, can_be_shared, mapped, share
from sweeplab.data.sources import CSV, MNIST, Diabetes, Digits, FashionMNIST
from sweeplab.data.splits import Facts, InMemorySplit, Split, Splits, StreamingSplit, TreeSplit
from sweeplab.data.transforms import BatchTransform, batch_transform
from sweeplab.data.trees import copied, digest

__all__ = [
    "CIFAR10",
    "CSV",
    "MNIST",
    "BatchTransform",
    "Batches",
    "Diabetes",
    "Digits",
    "Facts",
    "FashionMNIST",
    "ImageFolder",
    "InMemorySplit",
    "Layout",
    "Shared",
    "Shift",
    "Split",
    "Splits",
    "StreamingSplit",
    "TorchVision",
    "TreeSplit",
    "as_delivered",
    "as_picture",
    "batch_transform",
    "blank_pixel",
    "called",
    "can_be_shared",
    "class_names",
    "copied",
    "digest",
    "facts",
    "inputs_of",
    "load",
    "mapped",
    "nodes",
    "problems",
    "read_picture",
    "share",
    "supplied_arguments",
]
