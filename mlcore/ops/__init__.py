"""Operations, each declared once. Importing this package fills the registry and gives Tensor its methods."""

from mlcore.ops import (  # noqa: F401  (declaration order is the registry's order)
    elementwise,
    activation,
    shape,
    reduce,
    creation,
    index,
    linalg,
    random,
    sorting,
    nn,
    conv,
    norm,
    loss,
    update,
    transfer,
    attach,
)
