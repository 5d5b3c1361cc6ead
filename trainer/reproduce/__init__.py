"""Reproduction of the paper's findings on a toy language, with the trainer's own update."""
