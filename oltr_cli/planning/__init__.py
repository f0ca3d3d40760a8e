"""What a command line means: finds methods, resolves recipes, plans chains of runs."""
