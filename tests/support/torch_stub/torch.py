"""All that TorchServe's workers ask of torch, for handlers that do not use it: torch itself takes gigabytes."""


class Tensor:
    """No handler of the tests returns one."""
