"""Labelled data as arrays in memory: embedded, from local files, or generated."""

from ._clusterable import ClusterableDataset, clusterable
from ._dataset import Dataset, from_arrays
from ._encode import decode, encode
from ._load import load
from ._purpose import selection_rows

__all__ = [
    "Dataset",
    "load",
    "selection_rows",
    "from_arrays",
    "encode",
    "decode",
    "ClusterableDataset",
    "clusterable",
]
