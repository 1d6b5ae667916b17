"""Train ConvNet, three convolutions and two hidden layers, on RAF-DB.

python train_ConvNet.py [--data PATH] [--help]   # or: torchrun --nproc_per_node=4 train_ConvNet.py
"""

from ferlab.errors import command
from models import build
from RAFDB_dataset import load_splits
from train_function import parse, train

RECIPES = {
    "none": dict(epochs=60, batch_size=64, lr=1e-3, weight_decay=0.5, warmup_epochs=2, augment=0.4,
                 balance="sqrt-sampler"),
}  # fmt: skip


@command
def main():
    options = parse("ConvNet", RECIPES)
    train_set, val_set, test_set = load_splits(options)
    model = build("ConvNet", num_classes=train_set.num_classes, **options.model)
    train(model, train_set, val_set, test_set, options)


if __name__ == "__main__":
    main()
