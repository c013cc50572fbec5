"""The receiver: equalise, decode, refine, store, score."""
