"""Where the network looked: Grad-CAM for convolutional networks, attention rollout for ViTs.

maps = explain(models.load("results/ResNet18/seed0/best_model.pth"), faces)     # (N, H, W) in 0..1
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from ferlab.inference.predictor import device, preprocess
from models import ARCHITECTURES


def explain(model: nn.Module, images: Tensor) -> Tensor:
    """Heat maps (N, H, W) in 0..1 on the host: 1 where each image spoke most for the class the model chose.

    images: uint8 faces (N, 3, H, W), or floats that are ready for the model. A map is all zero where nothing
    spoke for the class, or every place alike. The model's answers, gradients and mode stay as they are. A
    ViT's map shows where its information came from, whatever the class.
    """
    x = images if images.is_floating_point() else preprocess(model, images)
    training, where = model.training, device(model)
    method = _rollout if isinstance(model, VisionTransformer) else _grad_cam
    try:
        with torch.inference_mode(False), torch.enable_grad():
            maps = method(model.eval(), x.to(where).clone())
    finally:
        model.train(training)
    maps = F.interpolate(maps[:, None], images.shape[-2:], mode="bilinear")[:, 0].cpu()
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    spread = (high - low).where(high - low > 1e-4 * high.abs(), torch.inf)  # less is rounding, not a map
    return (maps - low) / spread


def _grad_cam(model: nn.Module, x: Tensor) -> Tensor:
    """Selvaraju et al., Grad-CAM, ICCV 2017, https://arxiv.org/abs/1610.02391: the last feature maps,
    weighted by the chosen class's mean gradient.
    """
    kept = {}
    layer = model.get_submodule(ARCHITECTURES[model.built["name"]].maps)
    hook = layer.register_forward_hook(lambda module, args, output: kept.update(maps=output))
    try:
        scores = model(x.requires_grad_()).amax(1)  # the logit of the class that the model chose
    finally:
        hook.remove()
    maps = kept["maps"]
    gradient = torch.autograd.grad(scores.sum(), maps)[0]
    return (gradient.mean((2, 3), keepdim=True) * maps).sum(1).relu().detach()


@torch.no_grad()
def _rollout(model: VisionTransformer, x: Tensor) -> Tensor:
    """Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020, https://arxiv.org/abs/2005.00928:
    the layers' attention, half of it the residual path, multiplied up; what reaches the class token.
    """
    layers = []

    def keep(module: nn.MultiheadAttention, args: tuple[Tensor, ...], output) -> None:
        # torchvision asks for no weights, so they are computed once more from the layer's own input
        q, k, _ = F.linear(args[0], module.in_proj_weight, module.in_proj_bias).chunk(3, -1)
        q, k = (part.unflatten(-1, (module.num_heads, -1)).transpose(1, 2) for part in (q, k))
        attention = (q @ k.transpose(2, 3) * module.head_dim**-0.5).softmax(-1)  # (N, heads, tokens, tokens)
        layers.append(attention.mean(1))

    hooks = [block.self_attention.register_forward_hook(keep) for block in model.encoder.layers]
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    identity = torch.eye(layers[0].shape[-1], device=x.device)
    reached = identity[:1].expand(len(x), 1, -1)  # the class token's row; walked back from the last layer
    for attention in reversed(layers):
        reached = reached @ (attention + identity) / 2
    side = model.image_size // model.patch_size
    return reached[:, 0, 1:].view(-1, side, side)
