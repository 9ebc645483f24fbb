"""Two answers from one network: which wave is it, and what is its pitch? With a loss of one's own."""

import math

import numpy as np

import mlcore as ml
from mlcore import nn, optim
from mlcore.data import DataLoader, TensorDataset
from mlcore.nn import functional as F

ml.manual_seed(0)
SHAPES = ("sine", "square", "saw")


def waves(count: int, known: float, seed: int) -> TensorDataset:
    """Noisy waves (count, 1, 64), which shape each has, and how many periods: nan where nobody has counted them."""
    draw = np.random.default_rng(seed)
    shape, periods = draw.integers(len(SHAPES), size=count), draw.uniform(2, 8, count)
    turns = periods[:, None] * np.arange(64) / 64 + draw.random((count, 1))
    sine = np.sin(2 * np.pi * turns)
    wave = np.select([shape[:, None] == 0, shape[:, None] == 1], [sine, np.sign(sine)], 2 * (turns % 1) - 1)
    wave += 0.2 * draw.standard_normal(wave.shape)
    periods[draw.random(count) > known] = np.nan
    return TensorDataset(
        ml.asarray(wave[:, None], dtype=ml.float32), ml.asarray(shape), ml.asarray(periods, dtype=ml.float32)
    )


@nn.loss
def log_ratio(predicted, actual, *, width=0.1):
    """An error by a tenth counts the same at any pitch; small ones by their square, and outliers linearly."""
    off = (ml.log(predicted) - ml.log(actual)) / width
    return ml.sqrt(1 + off**2) - 1


def stage(channels: int, width: int, kernel: int) -> nn.Sequential:
    """A convolution with batch normalisation, then half the length."""
    conv = nn.Conv1d(channels, width, kernel, padding=kernel // 2)
    return nn.Sequential(conv, nn.BatchNorm1d(width), nn.ReLU(), nn.MaxPool1d(2))


class Listener(nn.Module):
    """A trunk for both tasks, a head for each, and how much each task is to be trusted, which is learned too."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            stage(1, 24, 7), stage(24, 32, 5), nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU()
        )
        self.heads = nn.ModuleDict({"shape": nn.Linear(64, len(SHAPES)), "periods": nn.Linear(64, 1)})
        self.log_variances = nn.Parameter(ml.zeros((2,)))

    def forward(self, x):
        common = self.trunk(x)
        return self.heads["shape"](common), F.softplus(self.heads["periods"](common)[:, 0]) + 0.1

    def together(self, *losses):
        """The sum of the losses, each by its precision (Kendall, Gal and Cipolla 2018)."""
        return ml.sum(ml.exp(-self.log_variances) * ml.stack(losses) + 0.5 * self.log_variances)


train, test = waves(2000, known=0.5, seed=1), waves(500, known=1.0, seed=2)
model = Listener()
shape_loss, period_loss = nn.CrossEntropyLoss(), log_ratio.Module(width=0.05)
epochs, loader = 12, DataLoader(train, batch_size=50, shuffle=True)
optimizer = optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=epochs * len(loader))
for epoch in range(epochs):
    for x, shape, periods in loader:
        optimizer.zero_grad()
        logits, predicted = model(x)
        first = shape_loss(logits, shape)
        second = period_loss(predicted, periods, mask=~ml.isnan(periods))  # a missing label adds nothing
        model.together(first, second).backward()
        optimizer.step()
        scheduler.step()
    weights = [round(math.exp(-one), 2) for one in model.log_variances.tolist()]
    print(f"epoch {epoch + 1}: shape {first.item():.3f}, periods {second.item():.3f}, weights {weights}")

x, shape, periods = test.tensors
with ml.no_grad():
    logits, predicted = model.eval()(x)
accuracy = (logits.argmax(axis=1) == shape).mean().item()
error = float(np.median(np.abs(predicted.numpy() / periods.numpy() - 1)))
print(f"{accuracy:.1%} of the shapes, and the number of periods within {error:.1%} for half of the waves")
assert accuracy > 0.97
assert error < 0.05
