"""What `gunicorn app:app` in the checkout reads; an installed package has `wfmgmt serve` for it."""

from wfmgmt.deployment.gunicorn_config import *  # noqa: F403 - gunicorn takes the names that it knows
