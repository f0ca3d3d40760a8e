"""The one training loop, what it is fed, and how trained networks become scores."""
