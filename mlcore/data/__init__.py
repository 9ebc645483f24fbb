"""Datasets, samplers, transforms and the loader that makes batches, with PyTorch's names."""

from mlcore.data.balanced import (
    BucketBatchSampler,
    ClassBalancedSampler,
    ClassReport,
    GroupBatchSampler,
    GroupSampler,
    StratifiedSampler,
    class_report,
    stratified_split,
)
from mlcore.data.bars import progress
from mlcore.data.cache import DiskCache, MemoryCache
from mlcore.data.collate import PadCollate, default_collate, default_convert
from mlcore.data.combine import (
    ChainDataset,
    ConcatDataset,
    MapDataset,
    MapIterableDataset,
    StackDataset,
)
from mlcore.data.dataset import Dataset, IterableDataset, Subset, TensorDataset, random_split
from mlcore.data.distributed import DistributedSampler
from mlcore.data.files import MemmapDataset, NumpyDataset, save_arrays
from mlcore.data.loader import DataLoader
from mlcore.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from mlcore.data.streams import WorkerInfo, get_worker_info, sample_generator, sample_rng
from mlcore.data.table import ParquetStream, TableDataset, read_arrow, read_csv, read_parquet
from mlcore.data.transforms import (
    Compose,
    Identity,
    Lambda,
    Normalize,
    OnField,
    RandomApply,
    RandomChoice,
    RandomOrder,
)

__all__ = [
    "BatchSampler",
    "BucketBatchSampler",
    "ChainDataset",
    "ClassBalancedSampler",
    "ClassReport",
    "Compose",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DiskCache",
    "DistributedSampler",
    "GroupBatchSampler",
    "GroupSampler",
    "Identity",
    "IterableDataset",
    "Lambda",
    "MapDataset",
    "MapIterableDataset",
    "MemmapDataset",
    "MemoryCache",
    "Normalize",
    "NumpyDataset",
    "OnField",
    "PadCollate",
    "ParquetStream",
    "RandomApply",
    "RandomChoice",
    "RandomOrder",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "StratifiedSampler",
    "Subset",
    "SubsetRandomSampler",
    "TableDataset",
    "TensorDataset",
    "WeightedRandomSampler",
    "WorkerInfo",
    "class_report",
    "default_collate",
    "default_convert",
    "get_worker_info",
    "progress",
    "random_split",
    "read_arrow",
    "read_csv",
    "read_parquet",
    "sample_generator",
    "sample_rng",
    "save_arrays",
    "stratified_split",
]
