"""Vision transformers: Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021,
https://arxiv.org/abs/2010.11929

ViT-B16 is torchvision's, with ImageNet weights to be had. ViT-mod is as deep and as wide, but reads RAF-DB's
own 100 x 100 pixels in patches of 10: 100 tokens, no upscaling, no pretraining.
"""

import torch
import torchvision
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

WEIGHTS = torchvision.models.ViT_B_16_Weights.IMAGENET1K_V1
HEADS = ("heads.head.",)


class PatchDropoutViT(VisionTransformer):
    """torchvision's ViT, whose training steps see a random `patch_keep` of each image's patches.

    (B, 3, image_size, image_size) -> logits (B, num_classes). The patches keep their positions, the class
    token always stays, and evaluation sees all of them (Liu et al., PatchDropout, WACV 2023). The weights
    have torchvision's names.
    """

    patch_keep = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.patch_keep == 1:
            return super().forward(x)
        patches, positions = self._process_input(x), self.encoder.pos_embedding  # (B, N, D), (1, 1 + N, D)
        patches = patches + positions[:, 1:]
        keep = max(1, round(self.patch_keep * patches.shape[1]))
        kept = torch.rand(patches.shape[:2], device=x.device).argsort(1)[:, :keep]  # (B, keep)
        patches = patches.gather(1, kept.unsqueeze(2).expand(-1, -1, patches.shape[2]))
        token = (self.class_token + positions[:, :1]).expand(len(x), -1, -1)
        tokens = self.encoder.dropout(torch.cat([token, patches], 1))
        return self.heads(self.encoder.ln(self.encoder.layers(tokens))[:, 0])


def _vit(image_size: int, patch_size: int, num_classes: int) -> PatchDropoutViT:
    return PatchDropoutViT(
        image_size=image_size,
        patch_size=patch_size,
        num_layers=12,
        num_heads=12,
        hidden_dim=768,
        mlp_dim=3072,
        num_classes=num_classes,
    )


def vit_b16(*, num_classes: int, image_size: int) -> nn.Module:
    """ViT-B/16 with new weights; image_size a multiple of 16."""
    return _vit(image_size, 16, num_classes)


def vit_mod(*, num_classes: int, image_size: int) -> nn.Module:
    """ViT-B with patches of 10 and new weights; image_size a multiple of 10."""
    return _vit(image_size, 10, num_classes)


def fit_positions(state: dict, image_size: int) -> dict:
    """ImageNet's position embeddings, learnt for 224 pixels, interpolated to `image_size`."""
    return interpolate_embeddings(image_size, 16, state)
