"""Generated kernels, compiled by g++ and run by ctypes, as a backend of mlcore: for tests only."""
