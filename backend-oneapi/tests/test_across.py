"""The main job on this device by MLCORE_DEVICE alone, and checkpoints that move between it and the others."""

from mlcore.testing.across import *  # noqa: F403

mlcore_backend = "oneapi"
