"""What a recipe may say and where recipes and data lie. No torch here."""
