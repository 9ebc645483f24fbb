"""What the backends for CUDA and ROCm share: CuPy arrays, and kernels in one source."""
