"""ResNet18: He et al., Deep Residual Learning for Image Recognition, CVPR 2016,
https://arxiv.org/abs/1512.03385
"""

import torchvision
from torch import nn

WEIGHTS = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
HEADS = ("fc.",)  # where the number of classes shows: new after ImageNet


def resnet18(*, num_classes: int, image_size: int) -> nn.Module:
    """torchvision's ResNet18 with new weights; any image_size of 32 or more."""
    return torchvision.models.resnet18(num_classes=num_classes)
