"""Operations, each declared once. Importing this package fills the registry and gives Tensor its methods."""

from mlcore.ops import (  # noqa: F401, I001  (the order of declaration is the registry's order; attach comes last)
    elementwise,
    activation,
    shape,
    reduce,
    creation,
    index,
    linalg,
    sorting,
    random,
    nn,
    conv,
    norm,
    loss,
    update,
    transfer,
    selftest,
    attach,
)
