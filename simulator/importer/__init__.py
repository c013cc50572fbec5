"""Reads checkpoints in the authors' layout and writes them as model folders of this project."""
