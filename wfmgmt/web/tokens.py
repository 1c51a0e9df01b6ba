"""The page of tokens: making and revoking them."""

from functools import partial

from flask import Blueprint, Response

from wfmgmt.api.parameters import Parameters
from wfmgmt.api.tokens import check_token_name, token_request
from wfmgmt.api.write_rules import CREATE_TOKEN, REVOKE_TOKEN
from wfmgmt.domain.access import Role
from wfmgmt.domain.plans import Plan
from wfmgmt.domain.tokens import Token
from wfmgmt.services.changes import Change
from wfmgmt.services.tokens import Created, Tokens
from wfmgmt.web.rendering import page, see_other
from wfmgmt.web.submissions import Form, Submission, Submissions

_PAGE = "/ui/tokens"
_FIELDS = ("name", "role", "workflows", "expires", "note")


def add_token_pages(blueprint: Blueprint, submissions: Submissions, *, tokens: Tokens) -> None:
    """Add the routes to a blueprint."""

    @blueprint.get(_PAGE)
    def list_tokens() -> Response:
        """Show all tokens, the newest first."""
        return page("tokens.html", tokens=tokens.all(), roles=[role.value for role in Role])

    submissions.add(_PAGE, CREATE_TOKEN, partial(_create, tokens), back=_PAGE)
    submissions.add(f"{_PAGE}/<token>/revoke", REVOKE_TOKEN, partial(_revoke, tokens), back=_PAGE)


def _create(tokens: Tokens, form: Form) -> Submission:
    query = {name: form[name].strip() for name in _FIELDS if form.get(name, "").strip()}
    wanted = token_request(Parameters(query, CREATE_TOKEN.schemas))

    def act(change: Change) -> Created | Plan:
        return tokens.plan_to_create(wanted, change) if change.dry_run else tokens.create(wanted, change)

    return Submission(
        method="POST", path="/tokens", query=query, act=act, answer=lambda created: page("token.html", created=created)
    )


def _revoke(tokens: Tokens, form: Form, token: str) -> Submission:
    del form
    check_token_name(token)

    def act(change: Change) -> Token | Plan:
        return tokens.plan_to_revoke(token, change) if change.dry_run else tokens.revoke(token, change)

    return Submission(method="DELETE", path=f"/tokens/{token}", act=act, answer=lambda _: see_other(_PAGE))
