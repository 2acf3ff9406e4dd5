"""A request as handlers get it: its body has a limit, and its signature tells service, region and access key."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from local.sagemaker.errors import SageMakerError

_CREDENTIAL_SCOPE = re.compile(
    r"Credential=(?P<key>[^/,]+)/\d{8}/(?P<region>[^/,]+)/(?P<service>[^/,]+)/aws4_request"
)


class BoundedRequest(Request):
    """A request whose body is refused when it is larger than the limit.

    :param limit: bytes.
    """

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise SageMakerError(
                    f"The request body is larger than {limit} bytes; start the server with a larger"
                    " --max-body-mb.",
                    "EntityTooLarge",
                    413,
                )
            return message

        super().__init__(scope, bounded)
        #: As the caller sent it, without the query; decoded.
        self.path: str = scope["path"]
        #: The header's fields by name in lower case, the first of each; starlette's own walks all of them every time.
        self.fields: dict[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])
        }
        found = _CREDENTIAL_SCOPE.search(self.fields.get("authorization", ""))
        #: Service and region the request is signed for; None without a signature.
        self.service = found["service"] if found else None
        self.region = found["region"] if found else None
        self.access_key = found["key"] if found else None
        #: What is answered in place of what the work comes to.
        self.answer_instead: Response | None = None
