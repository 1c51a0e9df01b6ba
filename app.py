"""The WSGI entry of the management plane: `gunicorn app:app`."""

from wfmgmt.factory import create_app

app = create_app()
