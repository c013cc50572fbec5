"""``python -m tests.goldens [chain] [compact]``: write the golden files anew."""

from __future__ import annotations

import sys

from tests.goldens import chain, compact
from tests.goldens.files import write

MADE = {"chain": chain.measure, "compact": compact.measure}

if __name__ == "__main__":
    for name in sys.argv[1:] or MADE:
        print(write(name, MADE[name]()))
