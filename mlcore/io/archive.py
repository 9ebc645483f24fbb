"""Zip archives, read with checks of our own and written: each member lies in its own bytes of the file.

Python's `zipfile` is not used: it takes overlapping and doubled members, trusts sizes until it has allocated them, and
is slow where a checkpoint has thousands of tensors. The format: PKWARE's APPNOTE.TXT, 4.3 and 4.5.3.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final, NoReturn

import numpy as np

from mlcore.errors import UnsafeFileError
from mlcore.io.source import PIECE, Bytes, Source

MAX_MEMBERS: Final = 250_000
MAX_RATIO: Final = 20  # of what compressed members become; PyTorch stores its members as they are
_SLACK: Final = 16 << 20

_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_FULL: Final = 0xFFFFFFFF  # the value is in the zip64 record
_ENCRYPTED: Final = 0x2041
_LATER: Final = 0x8  # sizes and CRC follow the data
_STORED, _DEFLATED = 0, 8


@dataclass(slots=True)
class Member:
    """One member: where its bytes lie, and what they should be. `crc` 0 is what a writer leaves who computes none."""

    name: str
    header: int
    start: int
    stored: int
    size: int
    crc: int
    compressed: bool


class Stream:
    """A member read from its beginning, into memory that is there already; what is compressed becomes no larger."""

    def __init__(self, archive: Archive, member: Member) -> None:
        self._archive, self._member, self._source = archive, member, archive.source
        self._what = f"member {member.name!r}"
        self._at, self._end = member.start, member.start + member.stored
        self._engine = zlib.decompressobj(-15) if member.compressed else None
        self._packed = b""
        self._crc = 0

    def into(self, raw: Bytes) -> None:
        """Fill an array with what comes next."""
        if self._engine is None:
            self._source.check(self._at, len(raw), self._what)
            self._crc = self._source.fill(raw, self._at, self._what, crc=True, begun=self._crc)
            self._at += len(raw)
            return
        place = 0
        while place < len(raw):
            piece = self._inflated(min(PIECE, len(raw) - place))
            if not piece:
                self._wrong_size()
            raw[place : place + len(piece)] = np.frombuffer(piece, np.uint8)
            place += len(piece)

    def end(self) -> None:
        """Check that this was all of it, and its CRC."""
        if self._engine is None:
            if self._at != self._end:
                self._wrong_size()
        elif self._inflated(1) or not self._engine.eof or self._engine.unused_data or self._at != self._end:
            self._wrong_size()
        self._archive.check(self._member, self._crc)

    def _inflated(self, most: int) -> bytes:
        """At most so many bytes more; none at the end."""
        engine = self._engine
        assert engine is not None
        piece = b""
        while not piece and not engine.eof:
            if not self._packed:
                size = min(PIECE, self._end - self._at)
                self._packed = self._source.array(self._at, size, self._what).tobytes()
                self._at += size
                if not size:
                    break
            try:
                piece = engine.decompress(self._packed, most)
            except zlib.error as error:
                self._source.fail(f"{self._what} cannot be decompressed ({error})", offset=self._member.start)
            self._packed = engine.unconsumed_tail
        self._crc = zlib.crc32(piece, self._crc)
        return piece

    def _wrong_size(self) -> NoReturn:
        self._source.fail(
            f"{self._what} does not decompress to the {self._member.size} bytes it promises",
            offset=self._member.start,
        )


class Archive:
    """The members of a zip by their names: `rooted`, below the one folder that holds them all."""

    def __init__(self, source: Source, *, rooted: bool = False) -> None:
        self.source = source
        start, size, count = self._directory()
        if count > MAX_MEMBERS:
            source.fail(f"its archive announces {count} members, at most {MAX_MEMBERS} are read")
        members = self._members(source.read(start, size, "the archive's directory"), start, count)
        self._place(members, start)
        self.root = members[0].name.partition("/")[0] if members and rooted else ""
        self.members: dict[str, Member] = {} if rooted else {member.name: member for member in members}
        for member in members if rooted else ():
            root, slash, name = member.name.partition("/")
            if not slash or root != self.root:
                source.fail(f"its archive has {member.name!r} outside of its folder {self.root!r}")
            self.members[name] = member

    def read(self, name: str, limit: int) -> bytes:
        """The content of a small member, its CRC checked."""
        member = self.members[name]
        if member.size > limit:
            self.source.fail(f"member {member.name!r} has {member.size} bytes, at most {limit} are expected")
        return self.array(member).tobytes()

    def array(self, member: Member) -> Bytes:
        """The content of a member as an array that belongs to the caller, its CRC checked."""
        raw = np.empty(member.size, np.uint8)
        stream = Stream(self, member)
        stream.into(raw)
        stream.end()
        return raw

    def check(self, member: Member, found: int) -> None:
        """Raise `FormatError` if a member's CRC is not what it should be; 0 says that the writer computed none."""
        if found != member.crc and member.crc:
            self.source.fail(
                f"member {member.name!r} is damaged",
                offset=member.start,
                expected=f"CRC-32 {member.crc:08x}",
                got=f"{found:08x}",
            )

    def verify(self, member: Member) -> None:
        """Check the CRC of a member that is stored, and keep nothing of it."""
        what = f"member {member.name!r}"
        if member.size <= PIECE // 16:
            self.check(member, zlib.crc32(self.source.read(member.start, member.size, what)))
        else:
            self.check(member, self.source.crc(member.start, member.size, what))

    def _directory(self) -> tuple[int, int, int]:
        """Where the directory lies, its size and how many entries it has."""
        source = self.source
        start = max(0, source.size - _END.size - 0xFFFF)
        tail = source.array(start, source.size - start, "the end of the archive").tobytes()
        place = tail.rfind(b"PK\x05\x06")
        while place >= 0:
            if place + _END.size <= len(tail):
                _, disk, first, here, count, size, offset, comment = _END.unpack_from(tail, place)
                if place + _END.size + comment == len(tail):
                    break
            place = tail.rfind(b"PK\x05\x06", 0, place)
        else:
            source.fail("it is truncated: the archive has no directory at its end")
        end = start + place
        wide = (
            end >= _LOCATOR.size and source.read(end - _LOCATOR.size, 4, "the archive's end") == b"PK\x06\x07"
        )
        if wide:  # some writers, PyTorch's too, have it always
            said = (size, offset, here, count)
            end, size, offset, here, count, disk, first = self._directory64(end)
            for short, full in zip(said, (size, offset, here, count)):
                if short not in (full, _FULL, 0xFFFF):
                    source.fail(f"its archive says {short} at one place and {full} at another", offset=end)
        elif _FULL in (size, offset) or 0xFFFF in (count, here, disk):
            source.fail("the archive's zip64 record is missing", offset=end)
        if disk or first or here != count:
            source.fail("its archive is one part of several")
        if offset + size != end:
            source.fail(
                f"the archive's directory at byte {offset} has {size} bytes and does not end at byte {end}"
            )
        return offset, size, count

    def _directory64(self, end: int) -> tuple[int, ...]:
        source = self.source
        raw = source.read(end - _LOCATOR.size, _LOCATOR.size, "the archive's zip64 locator")
        _, disk, place, _ = _LOCATOR.unpack(raw)
        if disk:
            source.fail("its archive is one part of several", offset=end)
        raw = source.read(place, _END64.size, "the archive's zip64 record")
        sign, length, _, _, disk, first, here, count, size, offset = _END64.unpack(raw)
        if sign != b"PK\x06\x06" or place + 12 + length != end - _LOCATOR.size:
            source.fail("the archive's zip64 record is damaged", offset=place)
        return place, size, offset, here, count, disk, first

    def _members(self, table: bytes, start: int, count: int) -> list[Member]:
        members: list[Member] = []
        seen: set[str] = set()
        place = 0
        for _ in range(count):
            if place + _ENTRY.size > len(table):
                self.source.fail(
                    f"its archive announces {count} members and lists {len(members)}", offset=start + place
                )
            sign, _, _, flags, method, _, _, crc, stored, size, named, extra, comment, disk, _, _, header = (
                _ENTRY.unpack_from(table, place)
            )
            at, place = place, place + _ENTRY.size
            if sign != b"PK\x01\x02" or place + named + extra + comment > len(table):
                self.source.fail("its archive's directory is damaged", offset=start + at)
            name = self._name(table[place : place + named], start + at)
            if _FULL in (stored, size, header):
                more = table[place + named : place + named + extra]
                stored, size, header = self._zip64(more, (stored, size, header), name)
            place += named + extra + comment
            member = Member(name, header, 0, stored, size, crc, method == _DEFLATED)
            self._check(member, flags, method, disk)
            if name in seen:
                self.source.fail(f"its archive has {name!r} twice", offset=start + at)
            seen.add(name)
            members.append(member)
        expanded = sum(member.size for member in members if member.compressed)
        if expanded > MAX_RATIO * self.source.size + _SLACK:
            self.source.fail(
                f"its archive's compressed members would become {expanded} bytes",
                cause=f"more than {MAX_RATIO} times the file: so are archives made that fill the memory",
                fix="if you trust it, unpack it and zip it again without compression (zip -0)",
            )
        if place != len(table):
            self.source.fail(
                f"{len(table) - place} bytes follow the archive's directory", offset=start + place
            )
        return members

    def _name(self, raw: bytes, offset: int) -> str:
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            self.source.fail(f"its archive has a member whose name is {raw[:40]!r}", offset=offset)
        parts = name.split("/")
        if not name or ".." in parts or "" in parts[:-1] or "\\" in name or "\0" in name or ":" in parts[0]:
            self.source.fail(
                f"its archive has a member called {name[:80]!r}",
                kind=UnsafeFileError,
                offset=offset,
                cause="such a name leads out of the archive's folder",
                fix="do not unpack this file; get it from somebody you trust",
            )
        return name

    def _zip64(self, extra: bytes, values: tuple[int, ...], name: str) -> list[int]:
        """The values that the entry itself has no room for, from its zip64 field."""
        place, found = 0, None
        while place + 4 <= len(extra) and found is None:
            tag, length = struct.unpack_from("<2H", extra, place)
            if tag == 1:
                field = extra[place + 4 : place + 4 + length]
                wide = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
                # -1 where the field is too short; stored and size come in the other order there
                size = next(wide, -1) if values[1] == _FULL else values[1]
                stored = next(wide, -1) if values[0] == _FULL else values[0]
                found = [stored, size, next(wide, -1) if values[2] == _FULL else values[2]]
            place += 4 + length
        if found is None or min(found) < 0:
            self.source.fail(f"member {name!r} has no zip64 sizes")
        return found

    def _check(self, member: Member, flags: int, method: int, disk: int) -> None:
        fail = self.source.fail
        if flags & _ENCRYPTED:
            fail(f"member {member.name!r} is encrypted", cause="no key for it is known",
                 fix="unpack it with its password and zip it again, stored")  # fmt: skip
        if method not in (_STORED, _DEFLATED) or disk:
            fail(f"member {member.name!r} is compressed by method {method}", cause="members are stored as a rule",
                 fix="unpack it and zip it again without compression (zip -0)")  # fmt: skip
        if method == _STORED and member.stored != member.size:
            fail(f"member {member.name!r} of {member.size} bytes takes {member.stored} bytes as it is")

    def _place(self, members: list[Member], directory: int) -> None:
        """Find where each member's bytes begin; none may reach into the next one, or into the directory."""
        end, last = 0, ""
        for member in sorted(members, key=lambda one: one.header):
            what = f"member {member.name!r}"
            if member.header < end:
                self.source.fail(f"{what} at byte {member.header} overlaps {last!r}, which ends at {end}")
            raw = member.name.encode()
            head = self.source.read(member.header, _LOCAL.size + len(raw), what)
            sign, _, flags, _, _, _, crc, stored, size, named, extra = _LOCAL.unpack_from(head)
            if sign != b"PK\x03\x04" or named != len(raw) or head[_LOCAL.size :] != raw:
                self.source.fail(f"{what} is not where the directory says", offset=member.header)
            if (
                not flags & _LATER
                and (crc, stored, size) != (member.crc, member.stored, member.size)
                and (size != _FULL)
            ):
                one, other = f"{size} bytes (CRC-32 {crc:08x})", f"{member.size} ({member.crc:08x})"
                self.source.fail(
                    f"{what} is said to have {one} at one place and {other} at another", offset=member.header
                )
            member.start = member.header + _LOCAL.size + named + extra
            end, last = member.start + member.stored, member.name
            if end > directory:
                self.source.fail(
                    f"{what} at byte {member.start} of {member.stored} bytes reaches into the directory"
                )
