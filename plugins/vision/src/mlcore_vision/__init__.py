"""mlcore-vision: images for mlcore.

`datasets` (digits shipped, MNIST, folders of images), `transforms` (on arrays, tensors and PIL images), `models` (a
small family of convolutional networks), and the commands `mlcore train` and `mlcore predict`.

>>> from mlcore_vision import datasets
>>> image, label = datasets.Digits(split="train")[0]
>>> image.shape, label
((1, 8, 8), 0)
"""

__version__ = "0.1.0"
