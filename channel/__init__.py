"""The channel: fading, noise and airtime; a broker with a medium inside. Numpy only."""
