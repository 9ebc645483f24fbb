"""mlcore's checkpoints: a folder with a manifest."""

from mlcore.io.formats import Format, Peek


def _sniff(peek: Peek) -> bool:
    return {"manifest.json", "tensors.safetensors"} <= peek.names


FORMAT = Format("checkpoint", "mlcore checkpoints", _sniff, reader="mlcore.io.manifest:CheckpointFile")
