"""Answers of the management address."""

from http import HTTPStatus

from flask import Response

from wfmgmt.http.answers import json_body

JSON = "application/json"


def json_response(value: object, status: int = HTTPStatus.OK) -> Response:
    """Return an answer with a JSON body."""
    return Response(json_body(value), status, mimetype=JSON)
