"""Fleets to work with: from the compiled form where there is one, else from the file, else from the last good form.

A form is used only for the very bytes it was made of. Where the file can be read it is the only thing that is believed;
what was kept of it counts when it can't be used at all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from city_fleet import outgoing_text
from city_fleet.config.cohort_rule import home_of
from city_fleet.config.compiled_form import Form, compile_form, list_named, source_digest
from city_fleet.config.fleet_file import Claims, FleetReading, assembled, fleet_files, read_fleet
from city_fleet.config.form_mirror import Mirror
from city_fleet.config.open_form import OpenForm, UnusableForm, open_form
from city_fleet.config.parts import EVERY_CITY, NO_CITY, Part
from city_fleet.config.settings import Fleet
from city_fleet.config.top_lines import TopLines, read_top_lines
from city_fleet.errors import ConfigError, FleetFileError

_log = outgoing_text.logger(__name__)
#: A form as all machines share it: its manifest, and what reads a shard by its digest.
Shared = tuple[bytes, Callable[[str], bytes]]
#: Finds the last good form of a fleet that all machines share; None where there is none to be had.
Fetch = Callable[[TopLines], Shared | None]


def no_fetch(lines: TopLines) -> Shared | None:
    """Fetch nothing: what is on this machine is all there is."""
    return None


def usable_fleets(
    folder: str | Path,
    part: Part = EVERY_CITY,
    *,
    environ: Mapping[str, str] | None = None,
    fetch: Fetch = no_fetch,
) -> list[Fleet | FleetFileError]:
    """Return the fleet of every fleet file of a folder, with the cities that are needed.

    :param part: which cities; a city that is not needed costs next to nothing.
    :param environ: environment variables for ``${NAME}``; the process's own by default.
    :param fetch: asked for the last good form of a file that can't be used, where this machine has none.
    :return: a fleet or its error per file, sorted by file name. A fleet whose ``last_good`` is set is that of before.
    """
    reader = _Reader(part, os.environ if environ is None else environ, fetch)
    return [reader.fleet(path) for path in fleet_files(folder)]


def usable_fleet(path: str | Path, *, fetch: Fetch = no_fetch) -> Fleet | FleetFileError:
    """Return the fleet of one file, with every city, or its error."""
    return _Reader(EVERY_CITY, os.environ, fetch).fleet(Path(path))


def read_and_compile(path: Path, environ: Mapping[str, str]) -> tuple[FleetReading, Form | None]:
    """Read a fleet file, and make its form of the same bytes.

    :return: the form is None while somebody writes the file, and where a variable names its list of cities.
    :raises FleetFileError: the file can't be used.
    """
    try:
        before = source_digest(path, None)
        reading = read_fleet(path, environ)
        listed = list_named(reading)
        digest = source_digest(path, listed)
        form = compile_form(path, reading, digest)
        unchanged = (source_digest(path, None), source_digest(path, listed)) == (before, digest)
    except (OSError, ConfigError):  # gone since it was read
        return read_fleet(path, environ), None
    return reading, form if unchanged else None


@dataclass(frozen=True)
class _Reader:
    part: Part
    environ: Mapping[str, str]
    fetch: Fetch
    claims: Claims = field(default_factory=Claims)

    def fleet(self, path: Path) -> Fleet | FleetFileError:
        mirror = Mirror.of(path)
        try:
            compiled = self._of_form(path, mirror)
            if compiled is not None:
                self.claims.claim(compiled)
                return compiled
            if mirror.is_writable():
                reading, form = read_and_compile(path, self.environ)
            else:
                reading, form = read_fleet(path, self.environ), None
            self.claims.claim(reading.fleet)
        except FleetFileError as error:
            return self._of_before(path, mirror, error) or error
        if form is not None:
            mirror.keep(form)
        return _narrowed(reading, self.part)

    def _of_form(self, path: Path, mirror: Mirror) -> Fleet | None:
        """Return the fleet from the form of the file as it is now, or None where there is none that fits.

        A form from the bucket does not count: who may write there could have made one under the name of this file.
        """
        current = mirror.current()
        try:
            if current is None or current.shared:
                return None
            if source_digest(path, current.listed) == current.digest:
                return mirror.form(current.digest).fleet(path, self.environ, self.part)
        except (OSError, UnusableForm):
            pass
        return None

    def _of_before(self, path: Path, mirror: Mirror, error: FleetFileError) -> Fleet | None:
        """Return the fleet of the last good form: this machine's, or where that lacks the city, all machines'."""
        slug = self.part.slug
        found: Fleet | None = None
        for look in (_kept_here, self._fetched):
            form = look(path, mirror)
            try:
                fleet = form.fleet(path, self.environ, self.part, error) if form is not None else None
            except UnusableForm:
                continue
            found = found or fleet
            if fleet is not None and (
                not slug or slug in fleet.cities or slug in fleet.broken or _is_home(slug)
            ):
                found = fleet
                break
        try:
            if found is not None:
                self.claims.claim(found)
        except FleetFileError:
            return None
        return found

    def _fetched(self, path: Path, mirror: Mirror) -> OpenForm | None:
        """Return the form that all machines share, if it is of the fleet that the file is about."""
        lines = read_top_lines(path, self.environ)
        shared = None if lines is None else self.fetch(lines)
        if shared is None:
            return None
        manifest, shard = shared
        try:
            found = open_form(manifest)
            found = replace(found, shard=lambda number: shard(found.shards[number]))
            of = found.fleet(path, self.environ, NO_CITY)
            if lines != TopLines(of.fleet, of.environment, of.bucket, of.region):
                return None
            # A task needs one city. Who builds all of them keeps the form, and asks no more.
            if mirror.current() is None and self.part.slug is None:
                mirror.keep(Form(found.digest, manifest, tuple(map(shard, found.shards))), shared=True)
        except Exception as error:
            _log.warning("The last good form of %s that all machines share can't be used: %s", path, error)
            return None
        return found


def _kept_here(path: Path, mirror: Mirror) -> OpenForm | None:
    current = mirror.current()
    try:
        return mirror.form(current.digest) if current is not None else None
    except UnusableForm:
        return None


def _is_home(slug: str) -> bool:
    return slug.startswith("_")


def _narrowed(reading: FleetReading, part: Part) -> Fleet:
    """Return the fleet of a file with the cities that are needed."""
    fleet = reading.fleet
    if part == EVERY_CITY:
        return fleet
    homes = home_of(fleet.members)
    cities = {slug: city for slug, city in fleet.cities.items() if part.takes(slug, homes.get(slug))}
    mistakes = {slug: found for slug, found in reading.mistakes.items() if part.takes(slug)}
    return assembled(fleet, fleet.path, cities, mistakes, children=fleet.children, members=fleet.members)
