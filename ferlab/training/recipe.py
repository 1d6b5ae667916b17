"""A script's recipe and the command line -> the options of one run, checked against its model and its folder.

options = parse("ResNet18", {"imagenet": dict(lr=2e-4), "none": dict(lr=1e-3)})     # of sys.argv
options = validate(model, options, classes=7)
"""

import sys
from dataclasses import replace

import models
from ferlab import cli
from ferlab.errors import UserError
from ferlab.options import Options, names
from ferlab.training.checkpoint import read
from ferlab.training.device import choose
from ferlab.training.run_folder import check_run_folder, checkpoint, in_original_folder, same_experiment


def parse(name: str, recipes: dict[str, dict], argv: list[str] | None = None) -> Options:
    """Options for the model `name` from the command line. `recipes` maps "imagenet" and "none" to a recipe
    each; --weights picks one, the first is the default. With --resume, options come back from the checkpoint.
    """
    words = sys.argv[1:] if argv is None else argv
    recipe = _recipe(name, recipes, cli.peek(words, "--weights"))
    typed = cli.typed(Options, words, description=f"Train {name} on RAF-DB.", used=recipe)
    options = replace(recipe, **typed)
    if options.weights == "imagenet" and "imagenet" not in recipes:
        raise UserError(f"{name} has no ImageNet weights; train it with --weights none.")
    options.image_size = options.image_size or models.ARCHITECTURES[name].image_size
    if "start_size" not in typed and options.start_size > options.image_size:
        options.start_size = 0  # the recipe's is for the recipe's own image size
    cli.check(options)
    if options.resume:
        options = _resumed(name, options, typed)
    if argv is None:  # the script's own: before data are read, or weights downloaded
        choose(options.device)
        check_run_folder(name, options)
    return options


def _resumed(name: str, options: Options, typed: dict) -> Options:
    """The options of the checkpoint that `options` resume, but for those that were typed."""
    stored = cli.restored(Options, read(path := checkpoint(name, options)).get("options"))
    if not in_original_folder(path, name, stored):  # it does not say where to read and write on this machine
        stored = replace(stored, **{key: getattr(options, key) for key in names("machine")})
    typed = {key: getattr(options, key) for key in typed}
    closed = stored.finish and (path.parent / "metrics.json").is_file()  # early: it stays so
    resumed = replace(stored, **{"overwrite": False, "finish": closed, **typed})
    same_experiment(stored, resumed)
    return resumed


def _recipe(name: str, recipes: dict[str, dict], weights: str | None) -> Options:
    first = next(iter(recipes))
    recipe = Options(weights=weights or first, **recipes.get(weights or first, recipes[first]))
    recipe.image_size = recipe.image_size or models.ARCHITECTURES[name].image_size
    return recipe


def validate(model: models.Model, options: Options, *, classes: int) -> Options:
    """The options with the model's image size, after handing the model what concerns its training only.
    Raises UserError for what this model or this folder cannot take.
    """
    name, full = model.built["name"], model.built["image_size"]
    cli.check(options)
    if options.image_size not in (0, full):
        raise UserError(f"the model takes {full} pixels, not {options.image_size}.")
    if model.built["num_classes"] != classes:
        raise UserError(f"the model has {model.built['num_classes']} classes, the data have {classes}.")
    if options.start_size and not models.ARCHITECTURES[name].any_size:
        raise UserError(
            f"--start-size is for networks that take pictures of any size; {name}'s weights fit "
            f"{full} pixels only."
        )
    smallest = models.ARCHITECTURES[name].smallest
    if options.start_size and not smallest <= options.start_size <= full:
        raise UserError(
            f"--start-size is {options.start_size}; it must be {smallest} to {full}, the "
            "--image-size, or 0 for none."
        )
    if hasattr(model, "patch_keep"):
        model.patch_keep = options.patch_keep
    elif options.patch_keep < 1:
        raise UserError(f"--patch-keep is for vision transformers; {name} has no patches.")
    check_run_folder(name, options)
    return replace(options, image_size=full)
