"""The content of recipes, and where recipes and data are. No torch here."""
