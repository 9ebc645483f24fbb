"""An LSTM that reads reviews of different lengths and says what they come to."""

import random

import mlcore as ml
from mlcore import nn, optim
from mlcore.data import DataLoader
from mlcore.nn import functional as F
from mlcore.nn.utils.rnn import pack_padded_sequence, pad_sequence

ml.manual_seed(0)
draw = random.Random(0)

# ---------------------------------------------------------------- reviews from a small grammar
SUBJECTS = ["plot", "cast", "music", "ending", "camera", "pace", "script", "sound", "light", "story"]
GOOD = ["great", "lovely", "moving", "clever", "brilliant", "funny"]
BAD = ["dull", "weak", "boring", "clumsy", "awful", "noisy"]
ADVERBS = ["", "", "really", "quite", "very", "simply"]


def clause() -> tuple[str, bool]:
    """`the plot was not very dull`, and whether that is praise: a negation turns the meaning."""
    good, negated = draw.random() < 0.5, draw.random() < 0.4
    adjective = draw.choice(GOOD if good else BAD)
    words = f"the {draw.choice(SUBJECTS)} was {'not' if negated else ''} {draw.choice(ADVERBS)} {adjective}"
    return words, good != negated


def review() -> tuple[str, bool]:
    """One to four clauses; the last one decides. Counting words does not help, their order matters."""
    text, praise = clause()
    for _ in range(draw.randrange(4)):
        more, now = clause()
        text, praise = f"{text} {'and' if now == praise else 'but'} {more}", now
    return " ".join(text.split()), praise


reviews = sorted({review() for _ in range(3000)})  # each text once, so that no test text was trained on
draw.shuffle(reviews)
train, valid, test = reviews[:-800], reviews[-800:-400], reviews[-400:]

# ---------------------------------------------------------------- texts become batches of numbers
words = sorted({word for text, _ in train for word in text.split()})
number = {word: index for index, word in enumerate(words, start=2)}  # 0 is padding, 1 an unknown word


def collate(samples: list[tuple[str, bool]]):
    """Texts padded to the longest (batch, steps), their lengths, and 1.0 for praise."""
    rows = [ml.asarray([number.get(word, 1) for word in text.split()]) for text, _ in samples]
    labels = ml.asarray([float(praise) for _, praise in samples], dtype=ml.float32)
    return pad_sequence(rows, batch_first=True), [len(row) for row in rows], labels


class Reader(nn.Module):
    """An LSTM in both directions; what each of them knows at its end decides."""

    def __init__(self, vocabulary: int, width: int = 32):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, 1)

    def forward(self, texts, lengths):
        steps = self.embedding(texts)
        packed = pack_padded_sequence(
            steps, lengths, batch_first=True, enforce_sorted=False
        )  # no step on padding
        _, (hidden, _) = self.lstm(packed)  # (directions, batch, width)
        return self.head(ml.concat([hidden[0], hidden[1]], axis=-1))[:, 0]


class Counter(nn.Module):
    """For comparison: it sees which words there are, and not in which order."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.words = nn.EmbeddingBag(vocabulary, 1, mode="sum", padding_idx=0)

    def forward(self, texts, lengths):
        return self.words(texts)[:, 0]


@ml.no_grad()
def measure(model: nn.Module, samples: list[tuple[str, bool]]) -> tuple[float, float]:
    """The loss and the accuracy."""
    texts, lengths, labels = collate(samples)
    logits = model.eval()(texts, lengths)
    model.train()
    right = (logits > 0) == (labels > 0.5)
    return F.binary_cross_entropy_with_logits(logits, labels).item(), right.mean().item()


def fit(model: nn.Module, rate: float, epochs: int = 6) -> nn.Module:
    """Train with a rate that falls when the validation loss stands still."""
    optimizer = optim.Adam(model.parameters(), lr=rate)
    scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=0)
    for epoch in range(1, epochs + 1):
        for texts, lengths, labels in DataLoader(train, batch_size=64, shuffle=True, collate_fn=collate):
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(model(texts, lengths), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        valid_loss, share = measure(model, valid)
        scheduler.step(valid_loss)
        print(
            f"{type(model).__name__}, epoch {epoch}: loss {valid_loss:.4f}, {share:.1%} of the validation texts"
        )
    return model


reader = fit(Reader(len(number) + 2), rate=5e-3)
counter = fit(Counter(len(number) + 2), rate=0.1)
accuracy, by_counting = (measure(model, test)[1] for model in (reader, counter))
print(f"{accuracy:.1%} of {len(test)} texts it never saw; by counting words, {by_counting:.1%}")
for text in (
    "the plot was dull but the ending was not bad",
    "the cast was great but the music was not lovely",
):
    texts, lengths, _ = collate([(text, True)])
    with ml.no_grad():
        print(f"{text}: {ml.sigmoid(reader.eval()(texts, lengths)).item():.0%} praise")
assert accuracy > 0.97 > by_counting + 0.15
