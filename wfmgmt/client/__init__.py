"""A typed, synchronous client of a running service, which needs nothing of the service's own code.

`Client` has one method for each thing that the service can do. What they return is in `wfmgmt.client.answers`, what
they raise in `wfmgmt.client.errors`.
"""

from wfmgmt.client.client import Client
from wfmgmt.client.errors import ClientError, Refused, TimedOut, Unreachable

__all__ = ["Client", "ClientError", "Refused", "TimedOut", "Unreachable"]
