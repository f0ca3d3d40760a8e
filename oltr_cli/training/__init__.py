"""The one training loop, its input, and how trained networks become scores."""
