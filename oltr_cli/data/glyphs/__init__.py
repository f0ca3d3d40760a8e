"""The built-in dataset: which characters, how they are drawn, where the drawings are cached."""
