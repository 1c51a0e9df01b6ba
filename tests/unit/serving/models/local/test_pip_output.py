"""What the client is shown of pip's output when an installation fails."""

import pytest

from wfmgmt.serving.models.local.installer import last_lines

NO_MATCH = """\
Looking in links: /srv/wheels
Processing /srv/wheels/first-1.0-py3-none-any.whl (from -r /srv/instance/environments/.aa/requirements.txt (line 1))
ERROR: Could not find a version that satisfies the requirement nosuch==1 (from versions: none)
ERROR: No matching distribution found for nosuch==1
"""
BROKEN_BUILD = """\
  error: subprocess-exited-with-error

  Getting requirements to build wheel did not run successfully.
  │ exit code: 1
  ╰─> [3 lines of output]
      Traceback (most recent call last):
        File "/srv/instance/environments/.aa/tmp/pip-install-x/broken/backend.py", line 1, in <module>
      ZeroDivisionError: division by zero
      [end of output]

  note: This error originates from a subprocess, and is likely not a problem with pip.
error: subprocess-exited-with-error
"""


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (
            NO_MATCH,
            "Could not find a version that satisfies the requirement nosuch==1 (from versions: none) | No matching ",
        ),
        (
            "Looking in indexes: https://host.example/simple\nno space",
            "Looking in indexes: https://host.example/simple",
        ),
        ("Looking in links: file:///srv/wheels", "Looking in links: wheels"),
        ("bad \x1b[31m /srv/x: permission denied", "bad  [31m x: permission denied"),
        ("", "pip failed and said nothing"),
    ],
)
def test_errors_or_else_the_last_lines_are_shown(output: str, shown: str) -> None:
    """On one line, without paths of this machine."""
    assert last_lines(output.encode()).startswith(shown)
    assert "/srv" not in last_lines(output.encode())


def test_end_of_a_failed_build_is_shown() -> None:
    """It has the build's own error."""
    shown = last_lines(BROKEN_BUILD.encode())
    assert 'File "backend.py", line 1, in <module> | ZeroDivisionError: division by zero | error: subprocess' in shown
    assert "note:" not in shown
