"""The comparison with TorchServe 0.12.0: `python -m benchmarks.torchserve [PART …]` measures both in one run."""
