"""A variational autoencoder: it learns eight numbers for each digit, and to draw digits from eight numbers."""

import mlcore as ml
from mlcore import nn, optim
from mlcore.data import DataLoader, TensorDataset
from mlcore.nn import functional as F
from mlcore_vision import datasets

ml.manual_seed(0)
train, test = datasets.Digits("train"), datasets.Digits("test")
(train_images, train_labels), (test_images, test_labels) = train.tensors(), test.tensors()
train_images, test_images = (
    (one > 0.5).astype(ml.float32) for one in (train_images, test_images)
)  # ink or none


class VAE(nn.Module):
    """Images become a normal distribution over `latent` numbers, and a draw from it an image (Kingma, Welling 2014)."""

    def __init__(self, latent: int = 8):
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 3, stride=2, padding=1),  # 4x4
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),  # 2x2
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 2 * 2, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, 64 * 2 * 2),
            nn.ReLU(),
            nn.Unflatten(1, (64, 2, 2)),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
        )

    def encode(self, images):
        """The mean and the logarithm of the variance, each (batch, latent)."""
        both = self.encoder(images)
        return both[:, : self.latent], both[:, self.latent :]

    def forward(self, images):
        mean, log_var = self.encode(images)
        drawn = mean + ml.exp(0.5 * log_var) * ml.random.normal(
            mean.shape
        )  # gradients reach mean and log_var
        return self.decoder(drawn), mean, log_var


def bound(model: nn.Module, images):
    """An upper bound of -log p(image), in nats: what drawing it costs, and what its eight numbers cost."""
    logits, mean, log_var = model(images)
    drawing = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    numbers = -0.5 * ml.sum(1 + log_var - mean**2 - ml.exp(log_var))
    return (drawing + numbers) / images.shape[0]


model = VAE()
optimizer = optim.Adam(model.parameters(), lr=3e-3)
scheduler = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.95)
for epoch in range(40):
    for (images,) in DataLoader(TensorDataset(train_images), batch_size=64, shuffle=True):
        optimizer.zero_grad()
        loss = bound(model, images)
        loss.backward()
        optimizer.step()
    scheduler.step()
    if epoch % 10 == 9:
        print(f"epoch {epoch + 1}: {loss.item():.2f} nats for each image")

# ---------------------------------------------------------------- what it has learned
model.eval()
with ml.no_grad():
    nats = bound(model, test_images).item()
    average = ml.mean(train_images, axis=0, keepdims=True)
    without = F.binary_cross_entropy(
        average.broadcast_to(test_images.shape), test_images, reduction="sum"
    ).item()
    without /= len(test)
    # Nobody told it the classes, yet digits of one class lie together: the nearest training image has the same.
    known, asked = model.encode(train_images)[0], model.encode(test_images)[0]
    distance = ml.sum((asked[:, None] - known[None]) ** 2, axis=-1)
    agreement = (train_labels[distance.argmin(axis=1)] == test_labels).mean().item()
    drawings = ml.sigmoid(model.decoder(ml.random.normal((6, model.latent))))
print(f"{nats:.2f} nats for each test image; {without:.2f} if each were the average image")
print(f"{agreement:.1%} of the test images are nearest to one of their class")

print("six digits that nobody has written:")
for row in drawings.permute_dims((2, 1, 0, 3)).reshape((8, 6, 8)).tolist():
    print("   ".join("".join(" .:*#"[min(int(5 * ink), 4)] * 2 for ink in digit) for digit in row))
assert nats < without - 4
assert agreement > 0.85
