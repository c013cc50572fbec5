"""Figures that a change of the code's shape must not change, and how they are made again.

    chain.json    symbols, received and equalised symbols of frames: numpy alone, equal bit for bit
    compact.json  quality of the compact model at eight points

``python -m tests.goldens`` writes both anew, ``python -m tests.goldens compact`` one of them: after
new weights, or where a change of behaviour is meant. The difference belongs into the commit.
"""
