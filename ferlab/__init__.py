"""The parts of the suite, in five rooms: data, synthetic, training, analysis and inference."""
