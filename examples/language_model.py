"""A small transformer that learns to write, letter by letter, from mlcore's own documentation."""

import inspect
import math

import numpy as np

import mlcore as ml
from mlcore import data, nn, optim
from mlcore.nn import functional as F

ml.manual_seed(0)
draw = np.random.default_rng(0)
CONTEXT, BATCH, STEPS = 64, 16, 900

# ---------------------------------------------------------------- the text: what mlcore's parts say about themselves
entries = [
    inspect.getdoc(getattr(module, name))
    for module in (nn, F, optim, data)
    for name in sorted(module.__all__)
]
entries = [entry + "\n\n" for entry in dict.fromkeys(entries) if entry]
letters = sorted(set("".join(entries)))
number = {letter: index for index, letter in enumerate(letters)}
test = np.array([number[letter] for entry in entries[::10] for letter in entry])  # every tenth is held back
train = np.array([number[letter] for i, entry in enumerate(entries) if i % 10 for letter in entry])


def windows(codes: np.ndarray, starts: np.ndarray) -> tuple[ml.Tensor, ml.Tensor]:
    """Pieces of the text from these starts, and the same pieces one letter on: what is to be foretold."""
    rows = codes[starts[:, None] + np.arange(CONTEXT + 1)]
    return ml.asarray(rows[:, :-1]), ml.asarray(rows[:, 1:])


class Block(nn.Module):
    """Attention to what came before, then a network for each letter; both add to what is there."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        batch, steps, width = x.shape
        split = self.qkv(self.norm1(x)).reshape((batch, steps, 3, self.heads, width // self.heads))
        query, key, value = split.permute_dims((2, 0, 3, 1, 4))  # each (batch, heads, steps, width of a head)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(seen.permute_dims((0, 2, 1, 3)).reshape((batch, steps, width)))
        return x + self.feed(self.norm2(x))


class LanguageModel(nn.Module):
    """Letters (batch, steps) become logits of the next letter (batch, steps, letters)."""

    def __init__(self, vocabulary: int, width: int = 96, heads: int = 4, depth: int = 2):
        super().__init__()
        self.letter, self.place = nn.Embedding(vocabulary, width), nn.Embedding(CONTEXT, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(self.letter.weight, std=0.02)
        nn.init.normal_(self.place.weight, std=0.02)
        self.head.weight = self.letter.weight  # one tensor for both

    def forward(self, codes):
        x = self.letter(codes) + self.place.weight[: codes.shape[1]]
        return self.head(self.norm(self.blocks(x)))


def loss_of(model: nn.Module, inputs, targets):
    return F.cross_entropy(model(inputs).reshape((-1, len(letters))), targets.reshape((-1,)))


model = LanguageModel(len(letters))
matrices = [p for p in model.parameters() if p.ndim >= 2]
others = [p for p in model.parameters() if p.ndim < 2]
optimizer = optim.AdamW(
    [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
    lr=4e-3,
    betas=(0.9, 0.95),
)
scheduler = optim.lr_scheduler.SequentialLR(
    optimizer,
    [
        optim.lr_scheduler.LinearLR(optimizer, start_factor=0.05, total_iters=30),
        optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS - 30, eta_min=1e-4),
    ],
    milestones=[30],
)
for step in range(STEPS):
    optimizer.zero_grad()
    loss = loss_of(model, *windows(train, draw.integers(len(train) - CONTEXT, size=BATCH)))
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    scheduler.step()
    if step % 100 == 99:
        print(f"step {step + 1}: loss {loss.item():.3f}, gradient {norm.item():.2f}")

# ---------------------------------------------------------------- how well, and what it writes
model.eval()
with ml.no_grad():
    bits = loss_of(model, *windows(test, np.arange(0, len(test) - CONTEXT, CONTEXT))).item() / math.log(2)
pairs = np.full((len(letters), len(letters)), 0.1)  # how often each letter follows each, for comparison
np.add.at(pairs, (train[:-1], train[1:]), 1)
pair_bits = -np.log2((pairs / pairs.sum(axis=1, keepdims=True))[test[:-1], test[1:]]).mean()
print(f"{bits:.2f} bits for each letter of the text held back; from the letter before alone, {pair_bits:.2f}")


@ml.no_grad()
def write(start: str, count: int, temperature: float = 0.7) -> str:
    """`count` more letters, each drawn from what the model expects after the last ones."""
    written = [number[letter] for letter in start]
    for _ in range(count):
        logits = model(ml.asarray([written[-CONTEXT:]]))[0, -1]
        written.append(ml.random.choice(ml.softmax(logits / temperature), 1).item())
    return "".join(letters[code] for code in written)


print(write("The ", 200))
assert bits < pair_bits - 1.0
