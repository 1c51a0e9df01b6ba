"""The use cases of the management plane, such as registering and removing workflows; they own the transactions."""
