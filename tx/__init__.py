"""The transmitter: images in, power-normalised complex symbols out. No torch by default."""
