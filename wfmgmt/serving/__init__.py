"""The inference plane: the runtime process, its servers, the model servers, and the client that talks to it."""
