"""What to label next: images chosen from an unlabelled folder, and how good the choice is."""
