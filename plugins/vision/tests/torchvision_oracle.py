"""torchvision's models as an oracle, and what is kept of it for machines without torchvision (torchvision.json).

``python torchvision_oracle.py`` writes the file anew; it needs torch and torchvision.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("torchvision.json")
FORWARD = (
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "mobilenet_v2",
    "vgg11_bn",
)  # of the last its features alone
SIZE = 64


def models() -> Any:
    """torchvision.models, where that is installed; its compiled operators, which no model uses, are not needed."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("torchvision")
    try:
        import torchvision.models
    except RuntimeError:  # built for another torch: declare what it could not load
        text = Path(spec.origin).with_name("_meta_registrations.py").read_text(encoding="utf-8")
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in sorted(set(re.findall(r'register_(?:fake|meta)\("(?:torchvision::)?(\w+)"', text))):
            library.define(f"{name}(Tensor a) -> Tensor")
        models.kept = library  # type: ignore[attr-defined]
        import torchvision.models
    return torchvision.models


def digest(entries: Iterable[tuple[str, tuple[int, ...]]]) -> str:
    """Of the names and shapes of a state_dict, in their order."""
    return hashlib.sha256("\n".join(f"{name} {shape}" for name, shape in entries).encode()).hexdigest()


def values(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """What stands in for trained weights: the same for everybody, of a size that keeps the activations near 1."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.asarray(7, np.int64)
    if len(shape) < 2:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32) * (
            0.1 if name.endswith(("bias", "mean")) else 1
        )
    return (rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(1.5 / np.prod(shape[1:])))).astype(
        np.float32
    )


def picture() -> np.ndarray[Any, Any]:
    """The input of the forward passes."""
    return np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE), np.float32)


def logits_of(output: np.ndarray[Any, Any]) -> list[str]:
    """Some of the values for each picture, as text."""
    return [" ".join(f"{value:.8g}" for value in row) for row in some(output)]


def some(output: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Twenty values or a few more of each picture."""
    flat = output.reshape(len(output), -1)
    return flat[:, :: flat.shape[1] // 20]


def state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: values(name, shape) for name, shape in shapes.items()}


def main() -> None:
    import torch

    library = models()
    kept: dict[str, Any] = {"torchvision": importlib.import_module("torchvision").__version__, "models": {}}
    for name in library.list_models():
        if not re.fullmatch(r"resnet\d+|resnext.*|wide_resnet.*|mobilenet_v2|vgg.*", name):
            continue
        with torch.device("meta"):
            net = getattr(library, name)()
        shapes = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
        entry: dict[str, Any] = {
            "entries": len(shapes),
            "parameters": sum(parameter.numel() for parameter in net.parameters()),
            "digest": digest(shapes.items()),
        }
        if name in FORWARD:
            net = (net.features if name.startswith("vgg") else net).to_empty(device="cpu").eval()
            shapes = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
            net.load_state_dict({key: torch.as_tensor(value) for key, value in state(shapes).items()})
            with torch.no_grad():
                entry["logits"] = logits_of(net(torch.as_tensor(picture())).flatten(1).numpy())
        kept["models"][name] = entry
    FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
