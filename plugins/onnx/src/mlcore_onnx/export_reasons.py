"""The operations that have no form in ONNX, each with the reason; the tests hold that there are no others."""

from __future__ import annotations

from typing import Final

WITHOUT: Final[dict[str, str]] = {
    "nextafter": "ONNX has no operation on the bits of a float",
    "real": "ONNX's operations take no complex numbers",
    "imag": "ONNX's operations take no complex numbers",
    "scan_prod": "ONNX has a cumulative sum, and no cumulative product",
    "where_true": "the shape of its result depends on values, which capture refuses",
    "random_bits": "ONNX has no generator with mlcore's numbers",
    "dropout_mask": "it draws random bits",
}
