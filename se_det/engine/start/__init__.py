"""What is checked of a run before it starts."""
