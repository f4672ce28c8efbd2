"""Files that values name and count by content: whether what is recorded of them still holds."""

from __future__ import annotations

from collections.abc import Iterable

from cas_engine.values import FileContent, content_of

# Among the files of a result: those that it names lie where its key does not tell, so it is no hit.
NEVER_THE_SAME: FileContent = ("", b"")


def are_unchanged(files: Iterable[FileContent]) -> bool:
    """Whether all these files are there with the content that they had."""
    return all(content_of(path) == digest for path, digest in files)


def are_not_edited(files: Iterable[FileContent]) -> bool:
    """Whether none of these files is there with another content. One that is not here says nothing against a result."""
    return all(content_of(path) in (digest, None) for path, digest in files)


def to_json(files: Iterable[FileContent]) -> list[list[str]]:
    """As JSON, sorted."""
    return [[path, digest.hex()] for path, digest in sorted(files)]


def from_json(raw: Iterable[list[str]]) -> tuple[FileContent, ...]:
    """The files that `to_json` wrote."""
    return tuple((path, bytes.fromhex(digest)) for path, digest in raw)
