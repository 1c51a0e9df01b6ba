"""Pure values and rules; nothing here reads a file, a socket or a clock."""
