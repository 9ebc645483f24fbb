"""An operation as plugin API 1.0 had it."""

from mlcore.dtypes import floating
from mlcore.ops.spec import unary

frozen_square = unary(
    "frozen_square",
    "`x * x`, element by element.",
    reference=lambda x: x * x,
    c="x * x",
    body=lambda x: x * x,
    accepts=floating,
    domain=(-4, 4),
    ulp=1,
    vjp=lambda g, x: 2 * g * x,
)
