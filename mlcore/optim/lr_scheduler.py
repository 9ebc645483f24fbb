"""Learning-rate schedules. Each step() sets the rates of the optimizer's groups, with PyTorch's numbers."""
