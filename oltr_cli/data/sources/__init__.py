"""What describes a person's photographs: tables and the formats of other programs, read into one shape."""
