"""What every room may use: files, display, seeding, signals, processes, the machine."""
