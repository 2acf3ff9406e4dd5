"""Who may ask: SageMaker, an application, a person's program; never a web page that a browser shows.

A browser adds Origin to what pages send across sites, and Sec-Fetch-Site to everything. A page whose own name was made
to resolve to this machine (DNS rebinding) sends that name as Host: on loopback all names but loopback's are refused.
Elsewhere a name proves nothing, since SageMaker asks by names of its own, and no browser reaches a container there.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache

FORBIDDEN = 403


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine alone.

    :param host: as in a Host field or in the settings, with or without a port.
    """
    name = re.sub(r":\d*$", "", host.lower()) if host.count(":") < 2 or host.startswith("[") else host
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def refusal(fields: Mapping[str, str], on_loopback: bool) -> str:
    """Why a request is refused; empty when it may be answered.

    :param fields: the header, by name in lower case.
    :param on_loopback: whether this server listens on loopback alone.
    """
    for name, harmless in (("origin", None), ("sec-fetch-site", "none")):
        if fields.get(name, harmless) != harmless:
            return f"Web pages may not ask this server: the request has the header field {name}."
    host = fields.get("host")
    if on_loopback and host is not None and not is_loopback(host):
        return f"This server is not called {host!r}; ask it as localhost or 127.0.0.1."
    return ""
