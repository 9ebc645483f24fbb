"""Folders of a model: config.json and its weights in one file, or in several with an index."""

from mlcore.io.formats import Format, Peek


def _sniff(peek: Peek) -> bool:
    from mlcore.io.folder import weight_files

    return peek.is_folder and "manifest.json" not in peek.names and bool(weight_files(peek.names))


FORMAT = Format(
    "folder",
    "folders with model.safetensors or an index",
    _sniff,
    reader="mlcore.io.folder:ModelFolder",
    writer="mlcore.io.shards:write_folder",
)
