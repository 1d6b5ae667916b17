"""Train ViT-B/16, fine-tuned from ImageNet or from scratch, on RAF-DB.

python train_ViT-B16.py [--data PATH] [--help]   # or: torchrun --nproc_per_node=4 train_ViT-B16.py
"""

from ferlab.errors import command
from models import build
from RAFDB_dataset import load_splits
from train_function import parse, train

RECIPES = {
    "imagenet": dict(epochs=20, batch_size=64, lr=3e-5, weight_decay=0.05, warmup_epochs=3, image_size=224),
    "none": dict(epochs=18, batch_size=64, lr=1e-4, weight_decay=0.3, warmup_epochs=1, augment=0.2,
                 balance="sqrt-sampler", image_size=48),
}  # fmt: skip


@command
def main():
    options = parse("ViT-B16", RECIPES)
    train_set, val_set, test_set = load_splits(options)
    model = build("ViT-B16", num_classes=train_set.num_classes, **options.model)
    train(model, train_set, val_set, test_set, options)


if __name__ == "__main__":
    main()
