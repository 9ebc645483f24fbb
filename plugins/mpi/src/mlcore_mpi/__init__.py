"""MPI for mlcore: `mlcore.distributed` between the processes of an MPI job, and `mlcore launch`."""
