"""A convolutional network that reads handwritten digits."""

import mlcore as ml
from mlcore import nn, optim
from mlcore.data import DataLoader
from mlcore.nn import functional as F
from mlcore_vision import datasets

ml.manual_seed(0)
try:  # 60,000 + 10,000 images of 28x28, where they are on this machine
    train, test = (datasets.MNIST(split=split, download=False) for split in ("train", "test"))
    epochs = 2
except FileNotFoundError:  # 1,442 + 355 images of 8x8, which come with mlcore-vision
    train, test = (datasets.Digits(split) for split in ("train", "test"))
    epochs = 15


def stage(channels: int, width: int) -> nn.Sequential:
    """A convolution with batch normalisation, then half the size."""
    conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2))


class Net(nn.Module):
    """Two stages, and a linear layer that finds out its own input size."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.features = nn.Sequential(stage(1, 32), stage(32, 64))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.25), nn.LazyLinear(classes))

    def forward(self, x):
        return self.head(self.features(x))


@ml.no_grad()
def accuracy_of(model: nn.Module) -> float:
    """The share of the test images that are read right."""
    model.eval()
    right = 0
    for images, labels in DataLoader(test, batch_size=500):
        right += (model(images).argmax(axis=1) == labels).sum().item()
    model.train()
    return right / len(test)


model = Net()
model(train[0][0][None])  # one image; now every layer has its weights
loader = DataLoader(train, batch_size=64, shuffle=True, drop_last=True)
optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=epochs * len(loader))
for epoch in range(epochs):
    for images, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels, label_smoothing=0.05)
        loss.backward()
        optimizer.step()
        scheduler.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}, {accuracy_of(model):.1%} of the test images")

ml.save(model.state_dict(), "digits.safetensors")
restored = Net()
restored.load_state_dict(ml.load("digits.safetensors"))
accuracy = accuracy_of(restored)
print(f"{accuracy:.2%} of {len(test)} test images are read right")
assert accuracy > 0.98
