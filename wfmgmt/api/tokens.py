"""The endpoints about tokens, and the one by which a client learns who it is."""

import re
from http import HTTPStatus

from flask import Blueprint, Response

from wfmgmt.api.access import caller
from wfmgmt.api.answers import json_response
from wfmgmt.api.parameters import Parameters
from wfmgmt.api.write_rules import CREATE_TOKEN, REVOKE_TOKEN
from wfmgmt.api.writes import Call, Writes
from wfmgmt.domain.access import Role, Scope
from wfmgmt.domain.plans import Plan
from wfmgmt.domain.tokens import NAME_FORM, Token, expiry
from wfmgmt.errors import BadRequest
from wfmgmt.errors.access import TokenNotFound
from wfmgmt.http.answers import json_body
from wfmgmt.registry.kept_answers import Answer
from wfmgmt.registry.registry import utc_now
from wfmgmt.services.tokens import Created, TokenRequest, Tokens


def add_token_routes(writes: Writes, *, tokens: Tokens) -> None:
    """Add the routes that make and revoke tokens."""

    @writes.route("POST", "/tokens", CREATE_TOKEN, read=token_request, render=_created)
    def create_token(call: Call) -> Created | Plan:
        """Make a token, which is shown once."""
        if call.change.dry_run:
            return tokens.plan_to_create(call.wanted, call.change)
        return tokens.create(call.wanted, call.change)

    @writes.route("DELETE", "/tokens/<token>", REVOKE_TOKEN, render=_revoked)
    def revoke_token(call: Call, token: str) -> Token | Plan:
        """Have a token accepted no more."""
        check_token_name(token)
        carry_out = tokens.plan_to_revoke if call.change.dry_run else tokens.revoke
        return carry_out(token, call.change)


def check_token_name(name: str) -> None:
    """Look whether there can be such a token, before a database is asked that does not take every text.

    Raises:
        TokenNotFound: There cannot.
    """
    if re.fullmatch(NAME_FORM, name) is None:
        raise TokenNotFound(name)


def tokens_blueprint(tokens: Tokens) -> Blueprint:
    """Return the blueprint over the tokens."""
    blueprint = Blueprint("tokens", __name__)

    @blueprint.get("/tokens")
    def list_tokens() -> Response:
        """List all tokens, without the secrets."""
        return json_response({"tokens": [token_json(each) for each in tokens.all()]})

    @blueprint.get("/whoami")
    def show_caller() -> Response:
        """Show what the client may do."""
        found = caller()
        return json_response(
            {
                "actor": found.actor,
                "role": found.role,
                "workflows": _patterns(found.scope),
                "expiresAt": found.expires_at,
            }
        )

    return blueprint


def token_request(parameters: Parameters) -> TokenRequest:
    """Return the token that is asked for.

    Raises:
        BadRequest: A parameter is missing or wrong.
    """
    name, role = parameters.text("name"), parameters.text("role")
    if re.fullmatch(NAME_FORM, name) is None:
        raise BadRequest(f"Parameter name: expected the name of a token, of the form {NAME_FORM}.")
    if not role:
        raise BadRequest(f"Parameter role: expected one of {', '.join(Role)}.")
    expires = parameters.text("expires")
    try:
        expires_at = expiry(expires, utc_now()) if expires else None
    except ValueError as error:
        raise BadRequest(f"Parameter expires: {error}.") from error
    patterns = [each.strip() for each in parameters.text("workflows").split(",")]
    return TokenRequest(
        name=name,
        role=Role(role),
        scope=Scope.of(each for each in patterns if each),
        expires_at=expires_at,
        note=parameters.plain_text("note"),
    )


def token_json(token: Token) -> dict[str, object]:
    """Return a token as answers show it."""
    return {
        "name": token.name,
        "prefix": token.prefix,
        "role": token.role.value,
        "workflows": _patterns(token.scope),
        "createdAt": token.created_at,
        "createdBy": token.created_by,
        "expiresAt": token.expires_at,
        "lastUsedAt": token.last_used_at,
        "revokedAt": token.revoked_at,
        "revokedBy": token.revoked_by,
        "note": token.note,
    }


def _patterns(scope: Scope) -> list[str]:
    return ["*"] if scope.patterns is None else list(scope.patterns)


def _created(created: Created) -> Answer:
    body = {"token": created.secret, **token_json(created.token)}
    return Answer(body=json_body(body), status=HTTPStatus.CREATED)


def _revoked(token: Token) -> Answer:
    return Answer(body=json_body({"status": f'Token "{token.name}" revoked'}))
