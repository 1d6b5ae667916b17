"""ConvNet: three 3x3 convolutions and two hidden layers, for 100 x 100 faces (the suite's small baseline)."""

import torch
from torch import nn


class ConvNet(nn.Module):
    """(B, 3, image_size, image_size) -> logits (B, num_classes).

    Logits, not probabilities: a softmax before cross-entropy, which has its own, would flatten the gradients.
    Pooling stands before ReLU: both are monotonic, so the result is the same, at a quarter of ReLU's work.
    """

    def __init__(self, *, num_classes: int = 7, image_size: int = 100, dropout: float = 0.5) -> None:
        super().__init__()
        side = image_size
        for _ in range(3):
            side = (side - 2) // 2
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3),
            nn.MaxPool2d(2),
            nn.ReLU(),  # 100 -> 98 -> 49
            nn.Conv2d(64, 64, 3),
            nn.MaxPool2d(2),
            nn.ReLU(),  # 49 -> 47 -> 23
            nn.Conv2d(64, 32, 3),
            nn.MaxPool2d(2),
            nn.ReLU(),  # 23 -> 21 -> 10
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(32 * side * side, 512),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(512, 64),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(64, num_classes),
        )

        for module in self.modules():  # He et al., ICCV 2015: without batch norm the default is too small
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.get_parameter("bias"))
        nn.init.normal_(self.classifier[-1].get_parameter("weight"), std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x))


def convnet(*, num_classes: int, image_size: int) -> nn.Module:
    """A ConvNet with new weights."""
    return ConvNet(num_classes=num_classes, image_size=image_size)
