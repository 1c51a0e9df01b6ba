"""A real model in wfmgmt and in TorchServe 0.12.0: `python -m benchmarks.embedding` measures both in one run."""
