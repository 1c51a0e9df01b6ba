"""Model servers, which run models: in processes of this machine, or on TorchServe."""
