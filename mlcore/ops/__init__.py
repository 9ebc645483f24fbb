"""Operations, each declared once. Importing this package fills the registry and gives Tensor its methods."""

from mlcore.ops import (  # noqa: F401  (declaration order is the registry's order)
    activation,
    attach,
    conv,
    creation,
    elementwise,
    index,
    linalg,
    loss,
    nn,
    norm,
    random,
    reduce,
    shape,
    sorting,
    transfer,
    update,
)
