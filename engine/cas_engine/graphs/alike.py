"""Calls that are alike: given results, lists of them and small constants by the same parameters, as in a loop. Pure.

What they have in common is found out once. Of one of them its constants are all that has to be kept.
"""

from __future__ import annotations

from binascii import b2a_base64, hexlify
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import count, islice
from operator import itemgetter

from cas_engine.graphs.bindings import (
    CONSTANT,
    Binding,
    Const,
    Items,
    Ref,
    Template,
    binding_bytes,
    binding_text,
    parameter_bytes,
    quoted,
    spelling_text,
)
from cas_engine.graphs.signatures import Way
from cas_store.digest import DIGEST_SIZE, Digest, digest_of_one

Small = bytes  # a constant without files, not a blob: its digest, then its encoding
SMALL_TYPES = frozenset([int, str, bool, type(None), bytes, float])
Kind = type | tuple[type, int]  # of what is given; (list, 3) is a list of three results, each as a whole


class Alike:
    """Such calls of one electron, written in one way.

    `kinds` are those of what they are given, of which `result` stands for results. No key counts the parameters in
    `ignored`, nor one that is given its own default: `usual` has the digests of these.

    `results` are the places of results and of lists of them, in the order of their `slots`; `constants` those of
    constants, in that of the parameters. `known` are the templates that there are, by the constants: see
    `constants_in`.
    """

    __slots__ = (
        "_begins",
        "_end",
        "_line",
        "_params",
        "_usual",
        "args",
        "constants",
        "constants_in",
        "known",
        "kwargs",
        "results",
        "slots",
    )

    def __init__(
        self,
        way: Way,
        kinds: Sequence[Kind],
        result: type,
        ignored: Collection[str],
        usual: Mapping[str, Digest],
    ) -> None:
        params, self.args, self.kwargs = way.params, way.args, way.kwargs
        counted = [place for name, place in params if name not in ignored]
        others = [place for name, place in params if name in ignored]
        held = [kind[1] if isinstance(kind, tuple) else int(kind is result) for kind in kinds]
        self.results = tuple(place for place in (*counted, *others) if held[place])
        self.slots = sum(held)
        self.constants = tuple(place for _, place in params if not held[place])
        self.known: dict[object, int] = {}
        # Of what is given: what tells its constants from all others, equal only if they are the same.
        self.constants_in = _picking(self.constants, [kinds[place] for place in self.constants])
        self._usual = tuple(usual.get(name) for name, place in params if not held[place])
        self._params: list[tuple[str, Binding | None]] | None = None
        if not others:
            slots = count()
            bound = {place: _bound(kinds[place], slots) for place in self.results}
            self._params = [(name, bound.get(place)) for name, place in params]
            (*self._begins, self._end), self._line = _pieces_of(self._params), self._line_of(self._params)

    def digest(self, constants: Sequence[Small]) -> Digest | None:
        """The digest of the template with these constants; None if not all of them count in keys."""
        if self._params is None:
            return None
        if len(constants) == 1:  # as in most loops: in two thirds of the time
            digest = constants[0][:DIGEST_SIZE]
            return None if digest == self._usual[0] else digest_of_one(b"".join((self._begins[0], digest, self._end)))
        pieces: list[bytes] = []
        for constant, usual, begins in zip(constants, self._usual, self._begins):  # noqa: B905 - hot, and as many
            digest = constant[:DIGEST_SIZE]
            if digest == usual:
                return None
            pieces += (begins, digest)
        pieces.append(self._end)
        return digest_of_one(b"".join(pieces))

    def line(self, digest: Digest, constants: Sequence[Small]) -> bytes:
        """A template as `template_dumps` writes it."""
        if len(constants) == 1:  # as above
            one = constants[0]
            encoded = b2a_base64(one[DIGEST_SIZE:], newline=False)
            return self._line % (hexlify(digest), hexlify(one[:DIGEST_SIZE]), encoded)
        texts = [hexlify(digest)]
        for one in constants:
            texts += (hexlify(one[:DIGEST_SIZE]), b2a_base64(one[DIGEST_SIZE:], newline=False))
        return self._line % (*texts,)

    def template(self, digest: Digest, constants: Sequence[Small]) -> Template:
        """A template as an object."""
        assert self._params is not None  # noqa: S101 - it is short
        each = iter(constants)
        params: list[tuple[str, Binding]] = []
        for name, binding in self._params:
            one = b"" if binding is not None else next(each)
            params.append((name, binding or Const(one[:DIGEST_SIZE], one[DIGEST_SIZE:], None)))
        return Template(tuple(params), self.args, self.kwargs, self.slots, self.slots, digest)

    def _line_of(self, params: Sequence[tuple[str, Binding | None]]) -> bytes:
        texts = []
        for name, binding in params:
            text = '["c","%b","%b"]' if binding is None else _escaped(binding_text(binding))
            texts.append(f"[{_escaped(quoted(name))},{text}]")
        written = _escaped(spelling_text(self.args, self.kwargs))
        return f'["%b",[{",".join(texts)}],{written},{self.slots},{self.slots}]'.encode()


def _bound(kind: Kind, slots: Iterator[int]) -> Binding:
    """What a parameter is bound to that is given results of this kind."""
    if isinstance(kind, tuple):
        return Items(kind[0].__name__, tuple([Ref(slot, ()) for slot in islice(slots, kind[1])]))
    return Ref(next(slots), ())


def _pieces_of(params: Sequence[tuple[str, Binding | None]]) -> list[bytes]:
    """What the digest is taken of, as `template_digest` does it, with that of a constant between any two of them."""
    pieces = [b""]
    for name, binding in params:
        pieces[-1] += parameter_bytes(name) + (CONSTANT if binding is None else binding_bytes(binding))
        if binding is None:
            pieces.append(b"")
    return pieces


def _picking(places: Sequence[int], kinds: Sequence[Kind]) -> Callable[[Sequence[object]], object]:
    if not places:
        return lambda _: None
    if float in kinds:
        # 0.0 and -0.0 are equal and differ; a nan is one, and not equal to itself.
        return lambda values: tuple(one.hex() if type(one) is float else one for one in map(values.__getitem__, places))
    return itemgetter(*places)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
