"""mlcore as a backend of the onnx package: what its own test suite drives."""

from __future__ import annotations

from typing import Any

from onnx.backend.base import Backend, BackendRep

from mlcore_onnx.load_model import OnnxModule, load
from mlcore_onnx.values import to_numpy


class MlcoreRep(BackendRep):
    """A model that is ready to run."""

    def __init__(self, module: OnnxModule) -> None:
        self.module = module

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs as NumPy arrays (lists for sequences)."""
        given = list(inputs.values()) if isinstance(inputs, dict) else inputs
        given = list(given) if isinstance(given, (list, tuple)) else [given]
        made = self.module.run(given)
        return tuple(to_numpy(one) for one in made)


class MlcoreBackend(Backend):
    """Runs models on mlcore's device (MLCORE_DEVICE, or the best one that is there)."""

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> MlcoreRep:
        """A model made ready."""
        return MlcoreRep(load(model))

    @classmethod
    def run_model(cls, model: Any, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """The outputs of a model."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether onnx's tests for this kind of device are meant: those for the CPU; mlcore chooses its own."""
        return device.split(":")[0] == "CPU"


prepare = MlcoreBackend.prepare
run_model = MlcoreBackend.run_model
supports_device = MlcoreBackend.supports_device
