"""A workflow management service for model serving, compatible with TorchServe's workflow API."""

__version__ = "0.1.0"
