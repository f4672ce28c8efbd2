"""Digests of values: by what they are made of, never by their pickle bytes or their place in memory."""

from __future__ import annotations

from cas_engine.values.digester import Digester, PartDigests, compose, compose_dict, leaf_digest
from cas_engine.values.files import File, FileContent, content_of, files_as_code, files_met, meet
from cas_engine.values.plain import LEAVES
from cas_engine.values.rules import register_digest

__all__ = [
    "LEAVES",
    "Digester",
    "File",
    "FileContent",
    "PartDigests",
    "compose",
    "compose_dict",
    "content_of",
    "files_as_code",
    "files_met",
    "leaf_digest",
    "meet",
    "register_digest",
]
