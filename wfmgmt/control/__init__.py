"""The protocol between the management plane and the runtime: messages, the client, the status cache."""
