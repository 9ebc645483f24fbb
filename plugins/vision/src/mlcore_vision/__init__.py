"""mlcore-vision: images for mlcore.

`datasets` (digits shipped, MNIST, folders of images), `transforms` (on arrays, tensors and PIL images), `models`
(ResNet, MobileNetV2, VGG and small ones), and the commands `mlcore train`, `mlcore predict` and `mlcore classify`.

>>> from mlcore_vision import datasets
>>> image, label = datasets.Digits(split="train")[0]
>>> image.shape, label
((1, 8, 8), 0)
"""

__version__ = "0.1.0"
