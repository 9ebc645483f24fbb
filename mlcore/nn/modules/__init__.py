"""Where PyTorch keeps its modules; here only `module` with the hooks of all modules."""
