"""What the words of a command line mean: methods found, recipes resolved, chains of runs planned."""
