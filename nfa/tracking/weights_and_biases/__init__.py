"""Weights & Biases: its client, its runs and its report."""
