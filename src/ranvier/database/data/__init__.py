"""Datasets: what they are, where their copies are, how they are registered and served."""
