"""PyTorch's checkpoints, read and written without PyTorch, and without running what a pickle asks for."""
