"""Who may ask: no web page, and by reading nobody changes anything. No password protects this server."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Mapping

from local.sagemaker.settings import is_loopback

READING_METHODS = ("GET", "HEAD", "OPTIONS")
#: How operations that change nothing begin, in all services.
READING = ("Describe", "Filter", "Get", "Head", "List", "Lookup", "Search", "Select", "Simulate", "Test")
#: What a browser says of a request that a person has typed or a bookmark has made; of all others a page is the origin.
_TYPED = "none"


def web_page(fields: Mapping[str, str], allowed_hosts: frozenset[str] | None, *, linked: bool = False) -> str:
    """Why a request counts as one of a web page; empty when it does not.

    A browser adds Origin to what pages send across sites, and Sec-Fetch-Site to everything. A page whose own name was
    made to resolve to this machine (DNS rebinding) sends that name as Host.

    :param fields: the header, by name in lower case.
    :param allowed_hosts: names that this server goes by besides those of loopback, where it listens on other addresses
        too: an address as Host is allowed then, since no name was resolved. None = loopback alone.
    :param linked: the page may have been led to by a link on another one.
    """
    if "origin" in fields:
        return "web pages may not use the local SageMaker (the request has an Origin header)"
    if not linked and fields.get("sec-fetch-site", _TYPED) != _TYPED:
        return "web pages may not use the local SageMaker (the request has a Sec-Fetch-Site header)"
    host = host_name(fields.get("host", "").lower())
    if is_loopback(host) or (allowed_hosts is not None and (host in allowed_hosts or is_address(host))):
        return ""
    if allowed_hosts is None:
        return f"the local SageMaker is not called {host!r}"
    return (
        f"the local SageMaker is not called {host!r}; start it with --allowed-host {host} if that is its name"
    )


def follows_link(method: str, fields: Mapping[str, str]) -> bool:
    """Whether a browser asks for a page that it will show by itself, in a window, as when somebody clicks a link.

    What a page fetches, frames, embeds or sends by a form has another mode, destination or method.

    :param fields: the header, by name in lower case.
    """
    mode, destination = fields.get("sec-fetch-mode"), fields.get("sec-fetch-dest")
    return (method, mode, destination) == ("GET", "navigate", "document")


@functools.lru_cache(maxsize=64)
def host_name(field: str) -> str:
    """The name in a Host field, without the port."""
    return re.sub(r":\d*$", "", field)


@functools.lru_cache(maxsize=64)
def is_address(host: str) -> bool:
    """Whether a host is an IP address and no name."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def only_reads(operation: str) -> bool:
    """Whether an operation changes nothing, by its name.

    :param operation: as botocore spells it.
    """
    return operation.startswith(READING)
