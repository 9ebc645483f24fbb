"""The functions behind the layers, with PyTorch's names and arguments; `axis` is accepted wherever `dim` is."""

from mlcore.nn.functional.activation import (
    gelu,
    log_softmax,
    relu,
    relu6,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from mlcore.nn.functional.attention import scaled_dot_product_attention
from mlcore.nn.functional.convolution import conv1d, conv2d, conv3d
from mlcore.nn.functional.dense import dropout, embedding, linear, normalize, one_hot
from mlcore.nn.functional.loss import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    mse_loss,
    nll_loss,
)
from mlcore.nn.functional.normalization import batch_norm, layer_norm, rms_norm
from mlcore.nn.functional.padding import pad
from mlcore.nn.functional.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from mlcore.nn.functional.transposed import conv_transpose1d, conv_transpose2d, conv_transpose3d

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cross_entropy",
    "dropout",
    "embedding",
    "gelu",
    "l1_loss",
    "layer_norm",
    "linear",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "relu",
    "relu6",
    "rms_norm",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]
