"""Modules: layers, containers and losses, with PyTorch's names, arguments, defaults and state_dict keys."""

from mlcore.nn import functional, init, utils
from mlcore.nn.activation import GELU, LogSoftmax, ReLU, ReLU6, Sigmoid, SiLU, Softmax, Softplus, Tanh
from mlcore.nn.containers import ModuleDict, ModuleList, ParameterList, Sequential
from mlcore.nn.conv import Conv1d, Conv2d, Conv3d
from mlcore.nn.conv_transpose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from mlcore.nn.linear import Dropout, Embedding, Flatten, Identity, Linear, Unflatten
from mlcore.nn.loss import BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss, NLLLoss
from mlcore.nn.module import Module
from mlcore.nn.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d, LayerNorm, RMSNorm
from mlcore.nn.parameter import Parameter
from mlcore.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from mlcore.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from mlcore.nn.transformer import MultiheadAttention, TransformerEncoder, TransformerEncoderLayer

__all__ = [
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "Identity",
    "L1Loss",
    "LSTMCell",
    "LayerNorm",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiheadAttention",
    "NLLLoss",
    "Parameter",
    "ParameterList",
    "RMSNorm",
    "RNNCell",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "Unflatten",
    "functional",
    "init",
    "utils",
]  # fmt: skip
