"""Commands that call a running service over HTTP; they load neither the service nor its settings."""
