"""The folder of the page: the exported network, the page's own files, onnxruntime-web; nothing comes from elsewhere."""

from __future__ import annotations

import json
import os
import shutil
from importlib import resources
from pathlib import Path
from typing import Final

import mlcore_onnx

from mlcore import assets
from mlcore.errors import ArgumentError
from mlcore_vision.predict import Reader

RUNTIME: Final = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def build(run: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Make the page of a run of `mlcore train mnist` in the folder `out`; returns it.

    The network is exported with a batch of any size. Raises ArgumentError for a run that is not of MNIST, which
    the page's pictures are like; what mlcore.io raises where there is no run; mlcore.assets.FetchError.
    """
    reader = Reader.from_checkpoint(run)
    if reader.frame != "mnist":
        raise ArgumentError(
            f"the run in {os.fspath(run)} is of pictures framed as {reader.frame!r}",
            expected="a run of `mlcore train mnist`",
        )
    runtime = assets.get("onnxruntime_web") / "dist"
    folder = Path(out)
    (folder / "ort").mkdir(parents=True, exist_ok=True)
    mlcore_onnx.export(
        reader.model, [(1, 1, 28, 28)], folder / "model.onnx", dynamic_shapes={"x": {0: "batch"}}, opset=17,
        input_names=["image"], output_names=["logits"],
    )  # fmt: skip
    about = {"model": reader.model_name, "classes": reader.classes}
    (folder / "model.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
    for page in resources.files("mlcore_browser").joinpath("page").iterdir():
        (folder / page.name).write_bytes(page.read_bytes())
    for name in RUNTIME:
        shutil.copyfile(runtime / name, folder / "ort" / name)
    return folder
