"""Client of a TorchServe: its addresses, keys, responses and errors, for the model server and for the import."""
