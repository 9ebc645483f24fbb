"""Which class reads a folder or file: by what its config.json or its header says."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from mlcore import assets
from mlcore.errors import FormatError
from mlcore_nlp.bert import BertForSequenceClassification, BertModel
from mlcore_nlp.llama import LlamaForCausalLM
from mlcore_nlp.pretrained import CONFIG, Pretrained, read_config
from mlcore_nlp.sentence import MODULES, SentenceEncoder

# The classes by Hugging Face's name of the architecture, and the one of a family where none is named.
ARCHITECTURES: Final[Mapping[str, type[Pretrained]]] = {
    one.__name__: one for one in (BertModel, BertForSequenceClassification, LlamaForCausalLM)
}
FAMILIES: Final[Mapping[str, type[Pretrained]]] = {"bert": BertModel, "llama": LlamaForCausalLM}


def from_pretrained(path: str | os.PathLike[str], *, device: Any = None, dtype: Any = None) -> Any:
    """The model in a Hugging Face folder, a folder of sentence-transformers, or a GGUF file, with its tokenizer.

    `dtype` None is float32, whatever the file holds; bfloat16 takes half the memory. Nothing is run from the files, and
    nothing is fetched. Raises `MissingFileError`, and `FormatError` for an architecture that is not known here.
    """
    place = Path(path)
    if place.is_file():
        from mlcore_nlp import gguf

        return gguf.load(place, device=device, dtype=dtype)
    if (place / MODULES).is_file():
        return SentenceEncoder.from_pretrained(place, device=device, dtype=dtype)
    config = read_config(place)
    named = config.get("architectures")
    first = str(named[0]) if isinstance(named, list) and named else ""
    found = ARCHITECTURES.get(first) or FAMILIES.get(str(config.get("model_type")))
    if found is None:
        raise FormatError(
            f"{place / CONFIG} is of an unknown architecture: {named!r}, model_type {config.get('model_type')!r}",
            known=", ".join(ARCHITECTURES),
            fix="mlcore.load(folder) reads the tensors of any",
        )
    return found.from_pretrained(place, device=device, dtype=dtype)


def minilm(device: Any = None, dtype: Any = None) -> SentenceEncoder:
    """all-MiniLM-L6-v2: 384 numbers for a sentence (fetched once, 80 MB; Apache-2.0)."""
    return SentenceEncoder.from_pretrained(assets.get("minilm"), device=device, dtype=dtype)


def smollm2(device: Any = None, dtype: Any = None) -> LlamaForCausalLM:
    """SmolLM2-135M-Instruct, a small language model (fetched once, 89 MB; Apache-2.0)."""
    from mlcore_nlp import gguf

    return gguf.load(assets.get("smollm2"), device=device, dtype=dtype)


FACTORIES: Final[Mapping[str, Callable[..., Any]]] = {"nlp/minilm": minilm, "nlp/smollm2": smollm2}
