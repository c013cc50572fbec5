"""Attacks on the link: real processes, real sockets, killed and cut at random."""
