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
from mlcore.nn.functional.ctc import ctc_loss
from mlcore.nn.functional.dense import dropout, embedding, linear, normalize, one_hot
from mlcore.nn.functional.distance import cosine_similarity, pairwise_distance, pdist
from mlcore.nn.functional.loss import LinearCrossEntropyOptions, cross_entropy, linear_cross_entropy, nll_loss
from mlcore.nn.functional.loss_margin import (
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from mlcore.nn.functional.loss_overlap import dice_loss, focal_loss
from mlcore.nn.functional.loss_values import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    gaussian_nll_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    multilabel_soft_margin_loss,
    poisson_nll_loss,
    smooth_l1_loss,
    soft_margin_loss,
)
from mlcore.nn.functional.normalization import batch_norm, layer_norm, rms_norm
from mlcore.nn.functional.padding import pad
from mlcore.nn.functional.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from mlcore.nn.functional.transposed import conv_transpose1d, conv_transpose2d, conv_transpose3d

__all__ = [
    "LinearCrossEntropyOptions",
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "dice_loss",
    "dropout",
    "embedding",
    "focal_loss",
    "gaussian_nll_loss",
    "gelu",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "linear",
    "linear_cross_entropy",
    "log_softmax",
    "margin_ranking_loss",
    "max_pool2d",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "pdist",
    "poisson_nll_loss",
    "relu",
    "relu6",
    "rms_norm",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softmax",
    "softplus",
    "tanh",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]
