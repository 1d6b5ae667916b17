"""Predictions to numbers, tests, tables and pictures."""
