"""DeleteObjects: an ETag for each object, and Quiet, neither of which moto heeds.

Sources: API Reference of DeleteObjects; User Guide, "How to perform conditional deletes": what does not hold for one
object is told in its own Error element, and the others are deleted. Called while the bucket is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

from starlette.responses import Response

from local.sagemaker.services.called import Call
from local.sagemaker.services.s3_conditions import header_not_implemented, matches, precondition_failed
from local.sagemaker.services.s3_uploads import malformed_xml, read_xml

MAX_OBJECTS = 1000
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True)
class Deletion:
    """A DeleteObjects request, sorted.

    :param body: what moto is to do; empty = nothing is left of it.
    :param errors: what is told of the others, as XML.
    :param quiet: whether nothing is told of those that were deleted.
    """

    body: bytes
    errors: str = ""
    quiet: bool = False

    def answer(self, response: Response | None) -> Response:
        """The whole answer.

        :param response: moto's; None if nothing was left to do.
        """
        if response is not None and (response.status_code != 200 or not (self.errors or self.quiet)):
            return response
        deleted = ""
        if response is not None:
            document = read_xml(bytes(response.body), "DeleteResult")
            told = [
                element
                for element in document
                if element.tag == "Error" or (element.tag == "Deleted" and not self.quiet)
            ]
            deleted = "".join(
                f"<{element.tag}>"
                + "".join(f"<{child.tag}>{escape(child.text or '')}</{child.tag}>" for child in element)
                + f"</{element.tag}>"
                for element in told
            )
        xml = f'<DeleteResult xmlns="{_NAMESPACE}">{deleted}{self.errors}</DeleteResult>'
        return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}', media_type="application/xml")


def read_deletion(call: Call, body: bytes) -> Deletion | None:
    """Sort a DeleteObjects request; None of any other one.

    :raises Refusal: if it is not what S3 takes.
    """
    if call.operation != "DeleteObjects" or call.access is None:
        return None
    document = read_xml(body, "Delete")
    objects = document.findall("Object")
    if not 0 < len(objects) <= MAX_OBJECTS:
        raise malformed_xml()
    kept, errors = [], []
    for element in objects:
        key, etag, version = (element.findtext(name) for name in ("Key", "ETag", "VersionId"))
        if not key:
            raise malformed_xml()
        for name in ("LastModifiedTime", "Size"):  # of directory buckets
            if element.find(name) is not None:
                raise header_not_implemented(name, "The local SageMaker does not heed it.")
        named = f"<Key>{escape(key)}</Key>" + (f"<VersionId>{escape(version)}</VersionId>" if version else "")
        if etag is None or matches(call.access.buckets[0], key, etag):
            kept.append(f"<Object>{named}</Object>")
            continue
        refusal = precondition_failed("If-Match")
        errors.append(
            f"<Error>{named}<Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>"
        )
    quiet = document.findtext("Quiet", "").strip().lower() == "true"
    wanted = f"<Delete>{''.join(kept)}</Delete>".encode() if kept else b""
    return Deletion(wanted, "".join(errors), quiet)
