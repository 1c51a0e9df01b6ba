"""The inference plane: the runtime process, its servers and the model servers."""
