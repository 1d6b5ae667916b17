"""The parts of the suite, in five rooms: data, synthetic, training, analysis and inference."""

from ferlab.versions import check

check()  # here, since with an old torch the next import already fails
