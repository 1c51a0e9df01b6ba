"""Models on running TorchServe servers."""
