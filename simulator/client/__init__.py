"""A link from Python: ``connect`` to machines that run, ``local`` with machines of its own; on
asyncio by ``aio``."""
