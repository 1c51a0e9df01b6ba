"""The `wfmgmt` command."""
