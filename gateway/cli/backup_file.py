"""A backup as one file: a tar with a manifest in front that names every other member by its size and SHA-256.

    manifest.json         what this is, whose log, how far, and the members
    manifest.sha256       of the manifest: 64 hex digits
    journal.db …          the members, in the manifest's order

The sums find damage. They find no forger, who writes new ones: what vouches for the log is its signed checkpoint.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO, Any, Final, NamedTuple, Self

from gateway.cli.output import CliError
from gateway.journal import CheckpointRow
from gateway.journal.backup import Cut
from gateway.journal.schema import DATABASE, LEAVES
from gateway.jsontext import require_shallow
from gateway.ops.exitcodes import ExitCode
from gateway.ops.last_good import LAST_GOOD

FORMAT: Final = "securenet.backup/1"
CONFIG: Final = "gateway.toml"
REGISTRY: Final = "registry.jsonl"
KEYS: Final = "keys.sealed"
FILTERS: Final = "mqtt-filters.json"
STRETCH: Final = "clock-untrusted"
DATA_FILES: Final = (DATABASE, LEAVES, FILTERS, STRETCH, LAST_GOOD)
"""The members that go into the data directory."""
MEMBERS: Final = (*DATA_FILES, CONFIG, REGISTRY, KEYS)

_MANIFEST: Final = "manifest.json"
_MANIFEST_SUM: Final = "manifest.sha256"
_MANIFEST_BYTES_MAX: Final = 64 << 10
_CHUNK: Final = 1 << 20


class Member(NamedTuple):
    """A file of the backup."""

    name: str
    size: int
    sha256: str


class Manifest(NamedTuple):
    """What a backup says of itself. ``checkpoint`` is the signed note over the first ``checkpoint_size`` entries."""

    id: str
    made_ms: int
    made_by: str
    origin: str
    log_size: int
    root: str
    last_entry_ms: int | None
    checkpoint_size: int
    checkpoint: str
    log_key: str | None
    schema: int
    members: tuple[Member, ...]

    def names(self) -> set[str]:
        """The members' names."""
        return {member.name for member in self.members}


class Source(NamedTuple):
    """A file that is to become a member."""

    name: str
    path: Path


def manifest_of(  # noqa: PLR0913 -- one argument for each fact
    cut: Cut, *, backup_id: str, made_ms: int, made_by: str, last_entry_ms: int | None, sources: Sequence[Source]
) -> Manifest:
    """Hash the members and write down what they are.

    Raises:
        OSError: one cannot be read.
    """
    note: CheckpointRow | None = cut.checkpoint
    return Manifest(
        backup_id,
        made_ms,
        made_by,
        cut.origin,
        cut.log_size,
        cut.root.hex(),
        last_entry_ms,
        0 if note is None else note.size,
        "" if note is None else note.text,
        None if cut.log_key is None else cut.log_key.hex(),
        cut.schema,
        tuple(_member(source) for source in sources),
    )


def _member(source: Source) -> Member:
    with source.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return Member(source.name, file.tell(), digest.hexdigest())


def write_backup(out: Path, manifest: Manifest, sources: Sequence[Source]) -> None:
    """Write the file, mode 0600: all of it, or none; never over another.

    Raises:
        CliError: it stands already.
        OSError: the disk does not take it.
    """
    temporary = out.with_name(f".{out.name}.{token_hex(4)}.tmp")
    text = _dump(manifest)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                _add(tar, _MANIFEST, len(text), manifest.made_ms, io.BytesIO(text))
                total = hashlib.sha256(text).hexdigest().encode()
                _add(tar, _MANIFEST_SUM, len(total), manifest.made_ms, io.BytesIO(total))
                for member, source in zip(manifest.members, sources, strict=True):
                    with source.path.open("rb") as content:
                        _add(tar, member.name, member.size, manifest.made_ms, content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, out)
        sync_directory(out.parent)
    except FileExistsError:
        raise CliError(ExitCode.CANNOT_CREATE, f"{out} is there already; nothing was written") from None
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _add(tar: tarfile.TarFile, name: str, size: int, made_ms: int, content: IO[bytes]) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, made_ms // 1000
    tar.addfile(info, content)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- reading ---


class BackupFile:
    """An open backup. ``unpack`` reads it once, from front to end."""

    def __init__(self, path: Path, tar: tarfile.TarFile, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._tar = tar

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open a backup and read its manifest.

        Raises:
            CliError: it cannot be read, or is no backup.
        """
        with ExitStack() as opened:
            try:
                file = opened.enter_context(path.open("rb"))
                tar = opened.enter_context(tarfile.open(fileobj=file, mode="r:"))
                text = _small(tar, _MANIFEST, _MANIFEST_BYTES_MAX)
                total = _small(tar, _MANIFEST_SUM, 64)
            except (tarfile.TarError, EOFError) as error:
                raise _damaged(path, str(error)) from None
            except OSError as error:
                raise CliError(ExitCode.NO_INPUT, f"{path} cannot be read: {error.strerror or error}") from None
            if total != hashlib.sha256(text).hexdigest().encode():
                raise _damaged(path, "its manifest does not have its sum")
            yield cls(path, tar, _parse(path, text))

    def unpack(self, where: Path | None = None, only: Container[str] = MEMBERS) -> None:
        """Read every member and compare it with the manifest; write those of ``only`` to ``where``, mode 0600.

        Raises:
            CliError: one is missing, too many, or not as the manifest says. What was written stays.
            OSError: the disk does not take it.
        """
        for member in self.manifest.members:
            target = None if where is None or member.name not in only else where / member.name
            if _copy(self._next(member), target) != (member.size, member.sha256):
                raise _damaged(self.path, f"{member.name} is not what was backed up (SHA-256 differs)")
        try:
            more = self._tar.next() is not None
        except (tarfile.TarError, EOFError):
            more = True
        if more:
            raise _damaged(self.path, "there is more in it than the manifest says")

    def text_of(self, name: str, limit: int) -> str:
        """Read one small member as text; those before it are passed over.

        Raises:
            CliError: it is not there, or not as the manifest says.
        """
        for member in self.manifest.members:
            content = self._next(member)
            if member.name == name:
                data = content.read(limit)
                if hashlib.sha256(data).hexdigest() == member.sha256:
                    with suppress(UnicodeDecodeError):
                        return data.decode("utf-8")
        raise _damaged(self.path, f"{name} is not what was backed up")

    def _next(self, member: Member) -> IO[bytes]:
        """The member that comes next, which has to be this one."""
        try:
            info = self._tar.next()
        except (tarfile.TarError, EOFError) as error:
            raise _damaged(self.path, str(error)) from None
        if info is None or not info.isreg() or (info.name, info.size) != (member.name, member.size):
            raise _damaged(self.path, f"{member.name} is not where the manifest has it")
        content = self._tar.extractfile(info)
        if content is None:
            raise _damaged(self.path, f"{member.name} cannot be read")
        return content


def _copy(content: IO[bytes], target: Path | None) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with _perhaps_new(target) as file:
        while block := _block(content):
            digest.update(block)
            size += len(block)
            if file is not None:
                file.write(block)
        if file is not None:
            file.flush()
            os.fsync(file.fileno())
    return size, digest.hexdigest()


def _block(content: IO[bytes]) -> bytes:
    try:
        return content.read(_CHUNK)
    except (tarfile.TarError, EOFError):
        return b""  # what is missing is told by the sum


@contextmanager
def _perhaps_new(target: Path | None) -> Iterator[IO[bytes] | None]:
    """A new file for its owner alone, or nothing."""
    if target is None:
        yield None
        return
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file


def _small(tar: tarfile.TarFile, name: str, limit: int) -> bytes:
    info = tar.next()
    if info is None or not info.isreg() or info.name != name or info.size > limit:
        raise tarfile.ReadError("it does not begin as a backup does")
    content = tar.extractfile(info)
    return b"" if content is None else content.read(limit)


def _damaged(path: Path, detail: str) -> CliError:
    return CliError(ExitCode.NO_INPUT, f"{path} is no sound backup: {detail}; take another one")


def _dump(manifest: Manifest) -> bytes:
    fields: dict[str, Any] = {"format": FORMAT, **manifest._asdict()}
    fields["members"] = [member._asdict() for member in manifest.members]
    return (json.dumps(fields, indent=1) + "\n").encode()


def _parse(path: Path, text: bytes) -> Manifest:
    try:
        fields: Any = json.loads(require_shallow(text.decode("utf-8")))
        if not isinstance(fields, dict):
            raise ValueError  # noqa: TRY004, TRY301 -- told as all that is wrong here
        if fields.pop("format", None) != FORMAT:
            raise _damaged(path, f"it is not of the format {FORMAT}, which this version reads")
        members = tuple(
            Member(str(each["name"]), int(each["size"]), str(each["sha256"])) for each in fields["members"]
        )
        manifest = Manifest(**_checked(fields) | {"members": members})
    except (ValueError, KeyError, TypeError):
        raise _damaged(path, "its manifest cannot be read") from None
    names = [member.name for member in members]
    if (
        len(set(names)) != len(names)
        or not set(names) <= set(MEMBERS)
        or not {DATABASE, LEAVES, CONFIG} <= set(names)
    ):
        raise _damaged(path, "its manifest names other files than a backup has")
    return manifest


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's fields, each of its kind."""
    kinds: dict[str, tuple[type, ...]] = {
        **dict.fromkeys(("id", "made_by", "origin", "root", "checkpoint"), (str,)),
        **dict.fromkeys(("made_ms", "log_size", "checkpoint_size", "schema"), (int,)),
        "last_entry_ms": (int, type(None)),
        "log_key": (str, type(None)),
        "members": (list,),
    }
    if set(fields) != set(kinds) or any(type(fields[name]) not in kind for name, kind in kinds.items()):
        raise ValueError("a field is missing, too many, or of another kind")
    return dict(fields)
