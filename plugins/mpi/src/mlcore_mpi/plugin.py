"""What mlcore loads to learn about this package: light, mpi4py is imported when a job starts."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mlcore.plugin import hookimpl

if TYPE_CHECKING:
    from mlcore.distributed import Collectives, Offer

# What the launchers of MPICH and Intel, of Open MPI, and of Slurm leave in the environment of their processes.
LAUNCHED = ("PMI_SIZE", "PMI_RANK", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK")


def launched() -> bool:
    """Whether this process was started by an MPI launcher."""
    return any(name in os.environ for name in LAUNCHED)


def open_mpi(timeout: float) -> Collectives:
    """Join the job; imports mpi4py, which starts MPI."""
    from mlcore_mpi.collectives import MpiCollectives

    return MpiCollectives(timeout)


class Mpi:
    """The hooks of this package."""

    name = "mpi"

    @hookimpl
    def mlcore_collectives(self) -> Iterable[Offer]:
        from mlcore.distributed import Offer

        return (Offer("mpi", launched, open_mpi),)

    @hookimpl
    def mlcore_cli_commands(self, subparsers: argparse._SubParsersAction[Any]) -> None:
        from mlcore_mpi import launch

        launch.add_command(subparsers)


plugin = Mpi()
