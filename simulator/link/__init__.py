"""Messages, sockets, keys, clocks and ledgers of the link. Imports nothing of the project."""
