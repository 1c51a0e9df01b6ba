"""Errors that answer requests which bring an archive along, or change the files of a store.

WfmgmtError
├── UploadTooLarge              an archive is larger than the settings allow
├── UploadTooSlow               a body did not arrive in time
├── UploadBrokenOff             a body ended before its end
├── DigestMismatch              an archive does not have the digest that the client named
├── ArchiveExists               the store has another archive of that name
├── StoreFull                   the stores would take more than the settings allow
└── TooManyUploads              as many uploads as allowed are under way
"""

from wfmgmt.errors import BadRequest, InsufficientStorage, Unavailable, WfmgmtError


class UploadTooLarge(WfmgmtError):
    """An archive is larger than the settings allow."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The archive is larger than {limit_bytes} bytes (WFMGMT_UPLOAD_LIMIT_MB).")


class UploadTooSlow(WfmgmtError):
    """The body of an upload did not arrive in time."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"The body did not arrive within {timeout_s:g} s (WFMGMT_UPLOAD_TIMEOUT_S).")


class UploadBrokenOff(BadRequest):
    """The body of an upload ended before its end; mostly nobody is there to read this."""

    def __init__(self) -> None:
        super().__init__("The connection ended before the whole body was there; nothing of it is left.")


class DigestMismatch(WfmgmtError):
    """An archive does not have the digest that the client named."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"The archive has the SHA-256 {found}, not {expected}; nothing of it is left.")


class ArchiveExists(WfmgmtError):
    """The store has another archive of that name."""

    def __init__(self, store: str, name: str) -> None:
        super().__init__(
            f"The {store} store has another file {name}, which stays as it is; choose another name, "
            "or replace=true while no workflow is registered from it."
        )


class StoreFull(InsufficientStorage):
    """The archives in the stores would take more than the settings allow."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The stores would take more than {limit_bytes} bytes (WFMGMT_STORE_LIMIT_MB).")


class TooManyUploads(Unavailable):
    """As many uploads as the settings allow are under way in this web worker."""

    def __init__(self) -> None:
        super().__init__("As many uploads as allowed are under way (WFMGMT_MAX_UPLOADS); try again later.")
