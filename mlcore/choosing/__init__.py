"""Choosing a device for one workload: a model and a batch, counted, estimated from profiles or run for real."""

from mlcore.choosing.best import best_device
from mlcore.choosing.verdict import Candidate, Verdict
from mlcore.choosing.workload import Workload, workload

__all__ = ["Candidate", "Verdict", "Workload", "best_device", "workload"]
