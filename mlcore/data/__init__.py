"""Datasets, samplers and the loader that makes batches of them, with PyTorch's names."""

from mlcore.data.collate import PadCollate, default_collate, default_convert
from mlcore.data.dataset import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset, random_split
from mlcore.data.loader import DataLoader
from mlcore.data.bars import progress
from mlcore.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from mlcore.data.streams import WorkerInfo, get_worker_info, sample_generator, sample_rng

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "default_convert",
    "random_split",
    "sample_generator",
]
