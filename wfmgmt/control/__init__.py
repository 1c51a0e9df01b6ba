"""What the management plane and the runtime say to each other: messages, the client, the status cache."""
