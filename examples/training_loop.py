"""A training loop that a PyTorch user could have typed: images in, classes out, weights saved and loaded."""

import mlcore as ml
from mlcore import nn, optim
from mlcore.data import DataLoader, TensorDataset
from mlcore.nn import functional as F

ml.manual_seed(0)
# 10 classes of noisy 8x8 images: each is one of ten random pictures plus noise.
pictures = ml.random.normal((10, 1, 8, 8))
labels_all = ml.random.integers(10, shape=(640,))
images_all = pictures[labels_all] + 0.8 * ml.random.normal((640, 1, 8, 8))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.head = nn.Linear(16 * 4 * 4, 10)

    def forward(self, x):
        return self.head(self.body(x))


model = Net()
optimizer = optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
for epoch in range(10):
    for images, labels in DataLoader(TensorDataset(images_all, labels_all), batch_size=64, shuffle=True):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    scheduler.step()
    print(epoch, loss.item())
ml.save(model.state_dict(), "net.safetensors")
model.load_state_dict(ml.load("net.safetensors"))

with ml.no_grad():
    right = model.eval()(images_all).argmax(axis=1) == labels_all
accuracy = right.mean().item()
print(f"{accuracy:.1%} right")
