"""NVIDIA's GPUs as devices of mlcore."""
