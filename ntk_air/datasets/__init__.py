"""Labelled data as arrays in memory: embedded, from local files, or generated."""

from ._clusterable import ClusterableDataset, clusterable
from ._dataset import Dataset
from ._duplicates import Duplicates, find_duplicates
from ._encode import decode, encode
from ._from_arrays import from_arrays
from ._load import load
from ._purpose import selection_rows
from .objects._hugging_face import from_hugging_face
from .objects._torch import from_torch
from .tables._corrections import holds_corrections, read_corrections
from .tables._from_table import from_table
from .tables._table_rows import table_rows

__all__ = [
    "Dataset",
    "load",
    "selection_rows",
    "from_arrays",
    "from_table",
    "from_torch",
    "from_hugging_face",
    "Duplicates",
    "find_duplicates",
    "table_rows",
    "read_corrections",
    "holds_corrections",
    "encode",
    "decode",
    "ClusterableDataset",
    "clusterable",
]
