"""Where a city's raw data lie: below the fleet's own prefix, or where a template of ``dataset.raw`` leads. Pure.

A template names a folder per city, ``s3://lake/sales/city={name}/``. A city's name stands in a key as it is, or as the
tool that wrote it spells it: percent-encoded, as Arrow does, or with the few characters escaped that Hive and Spark
escape. The files of the one spelling that has any are the city's.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote

PLACEHOLDERS = ("name", "slug")
ALLOWED = (
    "a folder in S3 such as s3://lake/sales/city={name}/, where {name} or {slug} stands for the city, without "
    "empty parts, '.', '..', '*' and '?'"
)
_TEMPLATE = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<key>[^\x00-\x1f\x7f]*)")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
# What Hive and Spark escape in the value of a partition.
_HIVE = re.compile(r"[\x00-\x1f\"#%'*/:=?\\\x7f{\[\]^]")


@dataclass(frozen=True)
class RawPlace:
    """Where a city's raw data lie.

    :param folder: key that the names of the city's files begin behind; empty, or with a slash at its end.
    :param prefixes: those that may hold the city's files, each below the folder.
    :param own: whether it is the fleet's own, which the fleet may write to.
    """

    bucket: str
    folder: str
    prefixes: tuple[str, ...]
    own: bool = True

    @property
    def folder_uri(self) -> str:
        """Return the URI that a file's name comes behind."""
        return f"s3://{self.bucket}/{self.folder}"

    @property
    def uri(self) -> str:
        """Return the city's prefix for people; of several spellings the plain one."""
        return f"s3://{self.bucket}/{self.prefixes[0]}"

    @property
    def shown(self) -> str:
        """Return all prefixes for people."""
        return " or ".join(f"s3://{self.bucket}/{prefix}" for prefix in self.prefixes)

    def holds(self, bucket: str, key: str) -> bool:
        """Tell whether an object is below the city's prefix."""
        return bucket == self.bucket and key.startswith(self.prefixes)


def own_place(bucket: str, prefix: str) -> RawPlace:
    """Return the place of a city whose files are in the fleet's bucket, below a prefix of its own."""
    return RawPlace(bucket, prefix, (prefix,))


def place_of(template: str, slug: str, name: str) -> RawPlace:
    """Return where a city's raw data lie by a template that :func:`problem_of` has nothing to say about."""
    bucket, key = split_template(template)
    prefixes = dict.fromkeys(key.replace("{slug}", slug).replace("{name}", each) for each in spellings(name))
    if "{name}" not in key:
        prefixes = {key.replace("{slug}", slug): None}
    return RawPlace(bucket, fixed_folder(key), tuple(prefixes), own=False)


def spellings(name: str) -> list[str]:
    """Return how a city's name may stand in a key, the plain one first."""
    plain = [name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)]
    as_it_is = [each for each in plain if "/" not in each and each not in (".", "..")]
    hive = _HIVE.sub(lambda found: f"%{ord(found[0]):02X}", name)
    return list(dict.fromkeys([*as_it_is, hive, quote(name, safe="")]))


def split_template(template: str) -> tuple[str, str]:
    """Return bucket and key of a template, the key with a slash at its end."""
    bucket, _, key = template.removeprefix("s3://").partition("/")
    return bucket, key.rstrip("/") + "/" if key.strip("/") else ""


def fixed_folder(key: str) -> str:
    """Return the folder that a template's key is in whatever the city; all of a key without a placeholder."""
    fixed, brace, _ = key.partition("{")
    return fixed[: fixed.rfind("/") + 1] if brace else key


def city_value(template: str, bucket: str, key: str) -> tuple[str, str] | None:
    """Return what stands in an object's key where a template has its first placeholder: the placeholder, and the text.

    :return: None for an object that is not below the template; two empty texts for a template without a placeholder.
    """
    there, pattern = split_template(template)
    if bucket != there:
        return None
    parts = _PLACEHOLDER.split(pattern)  # text, placeholder, text, …
    texts = [re.escape(text) for text in parts[::2]]
    found = re.match("([^/]+)".join(texts), key)
    if found is None:
        return None
    return (parts[1], found[1]) if len(parts) > 1 else ("", "")


def pattern_of(template: str) -> tuple[str, str]:
    """Return bucket and key of what a template leads to for any city, ``*`` where its name stands: for policies."""
    bucket, key = split_template(template)
    return bucket, _PLACEHOLDER.sub("*", key)


def problem_of(template: str) -> str | None:
    """Return what is wrong with a template, as a sentence's end after what was got; None where nothing is."""
    found = _TEMPLATE.fullmatch(template)
    if found is None:
        return ALLOWED
    unknown = [each for each in _PLACEHOLDER.findall(found["key"]) if each not in PLACEHOLDERS]
    if unknown:
        return "the placeholders {name} (the city's name in the raw data) and {slug}"
    rest = _PLACEHOLDER.sub("x", found["key"])
    parts = rest.rstrip("/").split("/")
    bad = {"", ".", ".."}.intersection(parts)
    return ALLOWED if bad or set("{}*?\\") & set(rest) else None
