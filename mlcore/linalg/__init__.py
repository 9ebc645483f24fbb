"""Linear algebra (the Array API's extension): factorisations, solving, norms, products of matrices.

Matrices are the last two dimensions, any others are batches. What is smooth is differentiable, of any order. Where a
device has no factorisations of its own, its matrices are computed on the host, which `MLCORE_FALLBACK` tells about.

>>> import mlcore as ml
>>> ml.linalg.solve(ml.asarray([[2.0, 0.0], [0.0, 4.0]]), ml.asarray([2.0, 2.0])).tolist()
[1.0, 0.5]
"""

from mlcore.linalg.eigen import eig, eigh, eigvals, eigvalsh
from mlcore.linalg.factor import cholesky, qr, svd, svdvals
from mlcore.linalg.matrices import cross, diagonal, matrix_norm, matrix_power, matrix_rank, trace, vector_norm
from mlcore.linalg.solving import det, inv, pinv, slogdet, solve
from mlcore.ops.linalg import matmul, outer, tensordot, vecdot
from mlcore.ops.shape import matrix_transpose

__all__ = [
    "cholesky", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv", "matmul", "matrix_norm",
    "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals",
    "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip
