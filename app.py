"""The WSGI entry of the management plane: `gunicorn app:app`."""

from wfmgmt.wsgi import create_app

app = create_app()
