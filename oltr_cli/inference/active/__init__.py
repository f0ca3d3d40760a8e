"""What to label next: images chosen from an unlabelled folder, and what the choice is worth."""
