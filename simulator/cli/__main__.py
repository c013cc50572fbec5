"""``python -m simulator.cli`` is ``diffjscc``."""

from simulator.cli.main import main

main()
