"""The parts of the suite, in five subpackages: data, synthetic, training, analysis and inference.

from ferlab import Recognizer        # a photo -> its faces and their expressions
"""

from ferlab.errors import while_importing
from ferlab.versions import check

check()  # here, since with an old torch the next import already fails
while_importing()


def __getattr__(name: str):
    """`Recognizer` when it is asked for: importing ferlab alone stays quick."""
    if name == "Recognizer":
        from ferlab.inference.recognizer import Recognizer

        return Recognizer
    raise AttributeError(f"module 'ferlab' has no attribute {name!r}")
