"""What the pieces cost on this machine, beside what they are compared with."""
