"""Train VGG16 with batch norm, fine-tuned from ImageNet or from scratch, on RAF-DB.

python train_VGG16.py [--data PATH] [--help]   # or: torchrun --nproc_per_node=4 train_VGG16.py
"""

from ferlab.errors import command
from models import build
from RAFDB_dataset import load_splits
from train_function import parse, train

RECIPES = {
    "imagenet": dict(epochs=30, batch_size=64, lr=1e-4, weight_decay=0.05, warmup_epochs=2, image_size=224),
    "none": dict(epochs=15, batch_size=64, lr=5e-4, weight_decay=0.3, warmup_epochs=2, augment=0.5,
                 balance="sqrt-sampler", image_size=48),
}  # fmt: skip


@command
def main():
    options = parse("VGG16", RECIPES)
    train_set, val_set, test_set = load_splits(options)
    model = build("VGG16", num_classes=train_set.num_classes, **options.model)
    train(model, train_set, val_set, test_set, options)


if __name__ == "__main__":
    main()
