from mlcore.dispatch cimport Op, binary, unary
from mlcore.tensor cimport TensorBase
