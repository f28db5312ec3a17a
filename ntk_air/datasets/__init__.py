"""Labelled data as arrays in memory: embedded, from local files, or generated."""

from ._clusterable import ClusterableDataset, clusterable
from ._dataset import Dataset, from_arrays
from ._encode import decode, encode
from ._load import load

__all__ = [
    "Dataset",
    "load",
    "from_arrays",
    "encode",
    "decode",
    "ClusterableDataset",
    "clusterable",
]
