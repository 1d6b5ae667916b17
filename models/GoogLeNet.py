"""GoogLeNet: Szegedy et al., Going Deeper with Convolutions, CVPR 2015, https://arxiv.org/abs/1409.4842

Without the paper's two auxiliary heads: batch norm, which torchvision's version has, does their work.
"""

import torchvision
from torch import nn

WEIGHTS = torchvision.models.GoogLeNet_Weights.IMAGENET1K_V1
HEADS = ("fc.",)
DROPPED = ("aux1.", "aux2.")  # torchvision's weights carry the auxiliary heads


def googlenet(*, num_classes: int, image_size: int) -> nn.Module:
    """torchvision's GoogLeNet with new weights; any image_size of 32 or more.

    torchvision initialises it by truncated normals, one value at a time on the CPU, which takes most of a
    minute; its batch norms make the layers' own default initialisation as good a start. transform_input: its
    ImageNet weights were trained on pixels in -1..1, and the network turns ours, normalised, into those.
    """
    return torchvision.models.googlenet(
        num_classes=num_classes, aux_logits=False, init_weights=False, transform_input=True
    )
