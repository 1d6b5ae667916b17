"""Train ViT-mod, a ViT-B that reads 100 x 100 pixels in patches of 10, on RAF-DB.

python train_ViT-mod.py [--data PATH] [--help]   # or: torchrun --nproc_per_node=4 train_ViT-mod.py
"""

from ferlab.errors import command
from models import build
from RAFDB_dataset import load_splits
from train_function import parse, train

RECIPES = {
    "none": dict(epochs=12, batch_size=64, lr=1e-4, weight_decay=0.3, warmup_epochs=1, augment=0.2,
                 balance="sqrt-sampler", image_size=40),
}  # fmt: skip


@command
def main():
    options = parse("ViT-mod", RECIPES)
    train_set, val_set, test_set = load_splits(options)
    model = build("ViT-mod", num_classes=train_set.num_classes, **options.model)
    train(model, train_set, val_set, test_set, options)


if __name__ == "__main__":
    main()
