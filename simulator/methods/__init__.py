"""What is compared: ways to bring an image through K channel uses, by name."""
