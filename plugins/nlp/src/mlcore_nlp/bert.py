"""BERT (Devlin et al. 2019), the encoder and two heads, with Hugging Face's parameter names.

Layers have the names of a Hugging Face folder (`encoder.layer.0.attention.self.query.weight`, ...), so a state_dict
moves both ways. Arguments have the names of its config.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, NamedTuple

from mlcore import nn
from mlcore.errors import ArgumentError, OutOfRangeError, ShapeError, did_you_mean
from mlcore.nn import functional as F
from mlcore.nn import init
from mlcore.ops.creation import iota_on
from mlcore_nlp.pretrained import Pretrained, Settings

ACTIVATIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
}


def activation(name: str) -> Callable[[Any], Any]:
    """The function that a config.json calls so."""
    if name not in ACTIVATIONS:
        raise ArgumentError(
            f"hidden_act={name!r}{did_you_mean(name, ACTIVATIONS)}", known=", ".join(ACTIVATIONS)
        )
    return ACTIVATIONS[name]


class BertOutput(NamedTuple):
    """What the encoder says of a batch."""

    last_hidden_state: Any  # (batch, length, hidden_size)
    pooler_output: Any  # (batch, hidden_size), or None without a pooling layer


class BertEmbeddings(nn.Module):
    """Ids (batch, length) to vectors: of the word, its position and its segment."""

    def __init__(
        self, vocab_size: int, hidden_size: int, max_position_embeddings: int, type_vocab_size: int,
        layer_norm_eps: float, dropout: float, pad_token_id: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, hidden_size, padding_idx=pad_token_id)
        self.position_embeddings = nn.Embedding(max_position_embeddings, hidden_size)
        self.token_type_embeddings = nn.Embedding(type_vocab_size, hidden_size)
        self.LayerNorm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input_ids: Any, token_type_ids: Any = None) -> Any:
        if input_ids.ndim != 2:
            raise ShapeError(f"BERT: input_ids of shape {input_ids.shape}", fix="pass (batch, length)")
        length, most = input_ids.shape[1], self.position_embeddings.num_embeddings
        if length > most:
            raise OutOfRangeError(
                f"BERT: a text of {length} tokens, and {most} positions",
                cause="each position has a vector that was learned (max_position_embeddings)",
                fix=f"cut the text, for example tokenizer(texts, max_length={most})",
            )
        if token_type_ids is not None and token_type_ids.shape != input_ids.shape:
            raise ShapeError(
                f"BERT: token_type_ids {token_type_ids.shape} for input_ids {input_ids.shape}",
                fix="give one for each token",
            )
        kinds = iota_on(input_ids, 1) if token_type_ids is None else token_type_ids
        words = self.word_embeddings(input_ids) + self.token_type_embeddings(kinds)
        return self.dropout(self.LayerNorm(words + self.position_embeddings.weight[:length]))


class BertSelfAttention(nn.Module):
    """Queries, keys and values of all heads, and the mixture of the values."""

    def __init__(self, hidden_size: int, num_attention_heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout_p = num_attention_heads, dropout
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)

    def _by_head(self, x: Any) -> Any:
        return x.reshape((*x.shape[:2], self.heads, -1)).permute_dims((0, 2, 1, 3))

    def forward(self, x: Any, mask: Any = None) -> Any:
        q, k, v = self._by_head(self.query(x)), self._by_head(self.key(x)), self._by_head(self.value(x))
        mixed = F.scaled_dot_product_attention(q, k, v, mask, self.dropout_p if self.training else 0.0)
        return mixed.permute_dims((0, 2, 1, 3)).reshape(x.shape)


class BertSelfOutput(nn.Module):
    """A linear layer, then the sum with what came in, normalised: after attention, and after the wide layer."""

    def __init__(self, width: int, hidden_size: int, layer_norm_eps: float, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, hidden_size)
        self.LayerNorm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Any, residual: Any) -> Any:
        return self.LayerNorm(self.dropout(self.dense(x)) + residual)


class BertAttention(nn.Module):
    """Attention with its output layer."""

    def __init__(
        self, hidden_size: int, heads: int, layer_norm_eps: float, hidden_dropout: float, dropout: float
    ) -> None:
        super().__init__()
        self.self = BertSelfAttention(hidden_size, heads, dropout)
        self.output = BertSelfOutput(hidden_size, hidden_size, layer_norm_eps, hidden_dropout)

    def forward(self, x: Any, mask: Any = None) -> Any:
        return self.output(self.self(x, mask), x)


class BertIntermediate(nn.Module):
    """The wide layer and its activation."""

    def __init__(self, hidden_size: int, intermediate_size: int, hidden_act: str) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, intermediate_size)
        self.hidden_act, self._act = hidden_act, activation(hidden_act)

    def forward(self, x: Any) -> Any:
        return self._act(self.dense(x))


class BertLayer(nn.Module):
    """One layer of the encoder."""

    def __init__(
        self, hidden_size: int, heads: int, intermediate_size: int, hidden_act: str, layer_norm_eps: float,
        hidden_dropout: float, attention_dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.attention = BertAttention(hidden_size, heads, layer_norm_eps, hidden_dropout, attention_dropout)
        self.intermediate = BertIntermediate(hidden_size, intermediate_size, hidden_act)
        self.output = BertSelfOutput(intermediate_size, hidden_size, layer_norm_eps, hidden_dropout)

    def forward(self, x: Any, mask: Any = None) -> Any:
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class BertEncoder(nn.Module):
    """The layers, one after the other."""

    def __init__(self, layers: int, *arguments: Any) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(*arguments) for _ in range(layers))

    def forward(self, x: Any, mask: Any = None) -> Any:
        for layer in self.layer:
            x = layer(x, mask)
        return x


class BertPooler(nn.Module):
    """The first token's vector, through a layer with tanh."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Any) -> Any:
        return F.tanh(self.dense(x[:, 0]))


class BertModel(Pretrained):
    """The encoder: ids (batch, length) to a vector for each token, and one for the text.

    `attention_mask` (batch, length) is 1 (or True) where there is a token and 0 where there is padding. Returns a
    `BertOutput`. `BertConfig(...)` is the same arguments as a frozen dataclass, whose `build()` makes the model.

    >>> import mlcore as ml
    >>> from mlcore_nlp import BertConfig
    >>> tiny = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    >>> small = BertConfig(vocab_size=50, **tiny)
    >>> found = small.build().eval()(ml.asarray([[1, 2, 3]]))
    >>> found.last_hidden_state.shape, found.pooler_output.shape
    ((1, 3, 8), (1, 8))
    """

    model_type: ClassVar[str] = "bert"
    base_prefix: ClassVar[str] = "bert."
    ignored: ClassVar[tuple[str, ...]] = (  # heads, and the pooling layer where it is not wanted
        r"embeddings\.position_ids", r"pooler\..*", r"cls\..*", r"classifier\..*",
    )  # fmt: skip

    def __init__(
        self, vocab_size: int = 30522, hidden_size: int = 768, num_hidden_layers: int = 12,
        num_attention_heads: int = 12, intermediate_size: int = 3072, hidden_act: str = "gelu",
        hidden_dropout_prob: float = 0.1, attention_probs_dropout_prob: float = 0.1,
        max_position_embeddings: int = 512, type_vocab_size: int = 2, initializer_range: float = 0.02,
        layer_norm_eps: float = 1e-12, pad_token_id: int = 0, add_pooling_layer: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_attention_heads < 1 or hidden_size < 1 or hidden_size % num_attention_heads:
            raise ArgumentError(
                f"BERT: hidden_size {hidden_size} with {num_attention_heads} heads",
                fix="hidden_size must be a multiple of num_attention_heads",
            )
        self.embeddings = BertEmbeddings(
            vocab_size, hidden_size, max_position_embeddings, type_vocab_size, layer_norm_eps,
            hidden_dropout_prob, pad_token_id,
        )  # fmt: skip
        self.encoder = BertEncoder(
            num_hidden_layers, hidden_size, num_attention_heads, intermediate_size, hidden_act, layer_norm_eps,
            hidden_dropout_prob, attention_probs_dropout_prob,
        )  # fmt: skip
        self.pooler = BertPooler(hidden_size) if add_pooling_layer else None
        self.hidden_size, self.initializer_range = hidden_size, initializer_range
        draw(self, initializer_range)

    def forward(self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None) -> BertOutput:
        x = self.embeddings(input_ids, token_type_ids)
        hidden = self.encoder(x, allowed(input_ids, attention_mask))
        return BertOutput(hidden, None if self.pooler is None else self.pooler(hidden))

    @classmethod
    def adapt(cls, settings: Settings, names: set[str]) -> Settings:
        """Without a pooling layer where the file has none, as those of heads for tokens are."""
        if "add_pooling_layer" not in settings and not any("pooler." in name for name in names):
            return {**settings, "add_pooling_layer": False}
        return settings


BertConfig: Any = nn.config.kind(BertModel)


def allowed(input_ids: Any, attention_mask: Any) -> Any:
    """The mask of attention (batch, 1, 1, length), True where a token may be looked at."""
    if attention_mask is None:
        return None
    if attention_mask.shape != input_ids.shape:
        raise ShapeError(
            f"attention_mask {attention_mask.shape} for input_ids {input_ids.shape}",
            fix="give 1 for each token and 0 for padding",
        )
    return (attention_mask != 0).reshape((input_ids.shape[0], 1, 1, input_ids.shape[1]))


def draw(model: nn.Module, std: float) -> None:
    """Start as these models do: matrices and tables normal, biases 0."""
    for one in model.modules():
        if isinstance(one, (nn.Linear, nn.Embedding)):
            init.normal_(one.weight, std=std)
        if isinstance(one, nn.Linear) and one.bias is not None:
            init.zeros_(one.bias)
        if isinstance(one, nn.Embedding) and one.padding_idx is not None:
            value = one.weight.detach()
            value[one.padding_idx] = 0.0
            one.weight.rebind(value)


class BertForSequenceClassification(Pretrained):
    """The encoder with `num_labels` logits for each text, from the pooled vector: (batch, num_labels).

    >>> import mlcore as ml
    >>> from mlcore_nlp import BertConfig, BertForSequenceClassification
    >>> tiny = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    >>> small = BertConfig(vocab_size=50, **tiny)
    >>> BertForSequenceClassification(small.build(), num_labels=3)(ml.asarray([[1, 2, 3]])).shape
    (1, 3)
    """

    model_type: ClassVar[str] = "bert"
    head: ClassVar[tuple[str, ...]] = (r"classifier\..*",)
    ignored: ClassVar[tuple[str, ...]] = (r"bert\.embeddings\.position_ids", r"cls\..*")

    def __init__(self, bert: Any, num_labels: int = 2, classifier_dropout: float | None = None) -> None:
        super().__init__()
        self.bert = bert
        if num_labels < 1 or self.bert.pooler is None:
            raise ArgumentError(
                f"BertForSequenceClassification: {num_labels} labels, pooling layer {self.bert.pooler}",
                fix="use at least one label, and add_pooling_layer=True",
            )
        config = nn.config.of(self.bert)
        p = config.hidden_dropout_prob if classifier_dropout is None else classifier_dropout  # type: ignore[attr-defined]  # made from the signature
        self.dropout = nn.Dropout(p)
        self.classifier = nn.Linear(self.bert.hidden_size, num_labels)
        draw(self.classifier, self.bert.initializer_range)

    def forward(self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None) -> Any:
        found = self.bert(input_ids, attention_mask, token_type_ids)
        return self.classifier(self.dropout(found.pooler_output))

    def draw_head(self) -> None:
        """Draw the classifier again."""
        draw(self.classifier, self.bert.initializer_range)

    @classmethod
    def settings(cls, config: Mapping[str, Any]) -> Settings:
        """The encoder's arguments, and how many labels are named."""
        found = BertModel.settings(config)
        labels = config.get("id2label")
        found["num_labels"] = len(labels) if isinstance(labels, Mapping) else config.get("num_labels", 2)
        return {**found, "classifier_dropout": config.get("classifier_dropout")}

    @classmethod
    def made(cls, settings: Settings) -> BertForSequenceClassification:
        """A model from the arguments of both."""
        own = {name: settings[name] for name in ("num_labels", "classifier_dropout") if name in settings}
        return cls(BertModel.made({name: one for name, one in settings.items() if name not in own}), **own)

    def config(self) -> dict[str, Any]:
        """What config.json says of this model."""
        count = self.classifier.out_features
        return {
            **self.bert.config(),
            "classifier_dropout": self.dropout.p,
            "id2label": {str(i): f"LABEL_{i}" for i in range(count)},
            "label2id": {f"LABEL_{i}": i for i in range(count)},
        }

    @classmethod
    def renamed(cls, name: str) -> str:
        """Names in files of the encoder alone have no `bert.` before them."""
        name = super().renamed(name)
        return f"bert.{name}" if name.split(".")[0] in ("embeddings", "encoder", "pooler") else name
