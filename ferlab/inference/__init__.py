"""Trained models on photos."""
