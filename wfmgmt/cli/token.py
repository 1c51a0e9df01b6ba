"""`wfmgmt token`: tokens made, listed and revoked in the database itself, as file permissions allow."""

import argparse
import re

from wfmgmt.cli.actor import command_origin
from wfmgmt.cli.remote.text import table
from wfmgmt.cli.settings import load_settings
from wfmgmt.deployment.database import inspect_database, prepare_database
from wfmgmt.deployment.instance import prepare_instance
from wfmgmt.domain.access import Role, Scope
from wfmgmt.domain.tokens import NAME_FORM, Token, expiry
from wfmgmt.errors import BadRequest
from wfmgmt.registry.registry import Registry, timestamp, utc_now
from wfmgmt.registry.schema import require_current
from wfmgmt.services.changes import Change
from wfmgmt.services.tokens import TokenRequest, Tokens
from wfmgmt.settings import Settings


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="action")
    create = commands.add_parser("create", help="make a token and print it; it is not shown again")
    create.add_argument("name", metavar="NAME", type=_name, help="what to call it, in the audit trail, too")
    create.add_argument("--role", required=True, choices=[role.value for role in Role], help="what its owner may do")
    create.add_argument(
        "--workflows",
        metavar="PATTERN",
        type=_pattern,
        action="append",
        default=[],
        help="only with workflows of such names: * is any text, ? one character; may be repeated",
    )
    create.add_argument("--expires", metavar="TIME", type=_expiry, help="how long it is accepted, like 90d or 12h")
    create.add_argument("--note", default="", metavar="TEXT", help="what it is for")
    commands.add_parser("list", help="list all tokens, also those that are not accepted any more")
    revoke = commands.add_parser("revoke", help="have a token accepted no more, within a second")
    revoke.add_argument("name", metavar="NAME", type=_name)


def run(options: argparse.Namespace) -> int:
    """Make, list or revoke.

    Returns:
        0 when that is done.
    """
    settings = load_settings()
    tokens = Tokens(_registry(settings, makes_one=options.action == "create"))
    change = Change(origin=command_origin())
    if options.action == "list":
        print(_listed(tokens))
    elif options.action == "revoke":
        tokens.revoke(options.name, change)
        print(f"token {options.name} revoked")
    else:
        wanted = TokenRequest(
            name=options.name,
            role=Role(options.role),
            scope=Scope.of(options.workflows),
            expires_at=options.expires,
            note=options.note,
        )
        print(tokens.create(wanted, change).secret)
    return 0


def _registry(settings: Settings, *, makes_one: bool) -> Registry:
    """Return the registry; a first token is made before the service starts for the first time."""
    state = inspect_database(settings)
    if makes_one and not state.revisions:
        prepare_instance(settings)
        prepare_database(settings, state)
    else:
        require_current(state)
    return Registry(settings.database)


def _listed(tokens: Tokens) -> str:
    headings = ("NAME", "PREFIX", "ROLE", "WORKFLOWS", "STATE", "LAST USED", "CREATED BY", "NOTE")
    now = timestamp(utc_now())
    return table(
        headings,
        [
            (
                each.name,
                each.prefix,
                each.role,
                each.scope,
                _state(each, now),
                _shown(each.last_used_at),
                each.created_by,
                each.note or "-",
            )
            for each in tokens.all()
        ],
    )


def _state(token: Token, now: str) -> str:
    if token.revoked_at is not None:
        return f"revoked {_shown(token.revoked_at)} by {token.revoked_by}"
    if token.expires_at is None:
        return "valid"
    return f"{'expired' if token.expires_at <= now else 'valid until'} {_shown(token.expires_at)}"


def _shown(at: str | None) -> str:
    return "-" if at is None else at[:16].replace("T", " ")


def _name(text: str) -> str:
    if re.fullmatch(NAME_FORM, text) is None:
        raise argparse.ArgumentTypeError(f"expected a name of the form {NAME_FORM}, got {text!r}")
    return text


def _pattern(text: str) -> str:
    try:
        Scope.of([text])
    except BadRequest as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _expiry(text: str) -> object:
    try:
        return expiry(text, utc_now())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
