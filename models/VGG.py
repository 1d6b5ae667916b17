"""VGG16 with batch norm: Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015,
https://arxiv.org/abs/1409.1556
"""

import torchvision
from torch import nn

WEIGHTS = torchvision.models.VGG16_BN_Weights.IMAGENET1K_V1
HEADS = ("classifier.6.",)


def vgg16(*, num_classes: int, image_size: int) -> nn.Module:
    """torchvision's vgg16_bn with new weights; any image_size of 32 or more."""
    return torchvision.models.vgg16_bn(num_classes=num_classes)
