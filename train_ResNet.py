"""Train ResNet18, fine-tuned from ImageNet or from scratch, on RAF-DB.

python train_ResNet.py [--data PATH] [--help]   # or: torchrun --nproc_per_node=4 train_ResNet.py
"""

from ferlab.errors import command
from models import build
from RAFDB_dataset import load_splits
from train_function import parse, train

RECIPES = {
    "imagenet": dict(epochs=30, batch_size=64, lr=2e-4, weight_decay=0.05, warmup_epochs=2, image_size=224),
    "none": dict(epochs=30, batch_size=64, lr=1e-3, weight_decay=0.5, warmup_epochs=2, augment=1.0,
                 balance="sqrt-sampler", image_size=64),
}  # fmt: skip


@command
def main():
    options = parse("ResNet18", RECIPES)
    train_set, val_set, test_set = load_splits(options)
    model = build("ResNet18", num_classes=train_set.num_classes, **options.model)
    train(model, train_set, val_set, test_set, options)


if __name__ == "__main__":
    main()
