"""mlcore-nlp: text for mlcore.

`BertModel` and `LlamaForCausalLM` with Hugging Face's parameter names, `SentenceEncoder`, tokenizers; `from_pretrained`
for a folder or a GGUF file of any of them. The commands are `mlcore embed` and `mlcore generate`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mlcore_nlp.auto import from_pretrained
    from mlcore_nlp.bert import BertConfig, BertForSequenceClassification, BertModel, BertOutput
    from mlcore_nlp.llama import LlamaConfig, LlamaForCausalLM
    from mlcore_nlp.sentence import SentenceEncoder
    from mlcore_nlp.text import Batch, ByteTokenizer, CharTokenizer, TextTokenizer
    from mlcore_nlp.tokenizer import Tokenizer

__version__ = "0.1.0"

# The names of each module; a module is imported when one of its names is asked for.
_HOMES: Final = {
    "auto": ("from_pretrained",),
    "bert": ("BertConfig", "BertForSequenceClassification", "BertModel", "BertOutput"),
    "llama": ("LlamaConfig", "LlamaForCausalLM"),
    "sentence": ("SentenceEncoder",),
    "text": ("Batch", "ByteTokenizer", "CharTokenizer", "TextTokenizer"),
    "tokenizer": ("Tokenizer",),
}
__all__ = [
    "Batch", "BertConfig", "BertForSequenceClassification", "BertModel", "BertOutput", "ByteTokenizer", "CharTokenizer",
    "LlamaConfig", "LlamaForCausalLM", "SentenceEncoder", "TextTokenizer", "Tokenizer", "from_pretrained",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"mlcore_nlp.{home}"), name)
    raise AttributeError(f"module 'mlcore_nlp' has no attribute {name!r}")
