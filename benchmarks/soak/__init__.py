"""The soak: mixed load for minutes while processes are killed, with every answer checked to be its request's own."""
