"""What a training step, its state and its run's folder are made of."""
