"""``diffjscc doctor``: what works on a machine, and whether a run folder is whole."""
