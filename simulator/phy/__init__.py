"""The air as pure functions, one concept a file, for numpy and torch alike."""
