"""Addresses without the secrets in them, for everything that is shown or stored."""

import re

HIDDEN = "***"
_SECRET_KEY = re.compile(r"(?i)(?<=[?&;#])([^=&;#]*(?:pass|pwd|token|secret|key|auth|sig|cred)[^=&;#]*=)[^&;#]+")
_ADDRESS = re.compile(r"([A-Za-z][\w+.-]*)(://|(?<=\w\w):/)([^\s'\"<>]+)")


def without_secrets(address: str) -> str:
    """``address`` without user, password and the values of query keys such as ``token``.

    A password need not be percent-encoded as it should be: ``user:pa/ss@host`` and ``user:p@ss@host`` are understood.
    Where it is unclear what belongs to the password, more is hidden.
    """
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    path, query_mark, query = rest.partition("?")
    if "@" in path:
        before, _, after = path.rpartition("@")
        # http://host/folder@2 has no user; user:pa/ss@host has a colon before its first slash.
        if "/" not in before or ":" in before.partition("/")[0]:
            path = after
    shown = scheme + mark + path + query_mark + query
    if "@" in query and ":" in rest.partition("?")[0] and "/" not in rest.partition("?")[0]:
        shown = scheme + mark + query.rpartition("@")[2]  # a question mark inside of a password
    return _SECRET_KEY.sub(rf"\1{HIDDEN}", shown)


def without_secrets_in(text: str) -> str:
    """``text`` with each address in it as ``without_secrets`` shows it: for messages of other libraries, and of paths
    in whose place somebody typed an address, of which ``Path`` has removed a slash."""

    def shown(match: re.Match[str]) -> str:
        scheme, mark, rest = match.groups()
        return scheme + mark + without_secrets(f"{scheme}://{rest}").removeprefix(f"{scheme}://")

    return _ADDRESS.sub(shown, text)
