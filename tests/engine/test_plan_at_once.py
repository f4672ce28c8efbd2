"""All nodes decided with look-ups in batches are decided as one by one, whatever samples do to the keys below them."""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Sequence
from dataclasses import replace

import pytest

from cas_engine.errors import BindError
from cas_engine.graphs import bindings, templates
from cas_engine.graphs.bindings import Const, Items, Ref, Template, template_digest, template_dumps, template_to_json
from cas_engine.graphs.graph import Graph, Row
from cas_engine.graphs.signatures import Parameter, Signature
from cas_engine.graphs.substitution import substitute
from cas_engine.plans import manifest
from cas_engine.plans.decisions import Decision, Hit, Miss, Same, Unknown
from cas_engine.plans.plan import Planner
from cas_engine.plans.policy import Policy
from cas_engine.plans.records import NO_PARTS, Record
from cas_store.digest import Digest, digest_of


def _row(slot: str, *, stochastic: bool = False, is_lattice: bool = False) -> Row:
    code = digest_of(slot.encode())
    return Row(slot, slot, is_lattice, code, (), None, stochastic, (), None, 0, None, code, Signature(()), reaches=())


ROWS = (_row("pure"), _row("other"), _row("draws", stochastic=True), _row("inner", stochastic=True, is_lattice=True))


def _template(slots: int, constant: bytes, key_slots: int) -> Template:
    params = [(f"p{i}", Ref(i, ())) for i in range(slots)]
    const = ("c", Const(digest_of(constant), constant, None))
    digest = template_digest([*params, const], leave_out=frozenset(f"p{i}" for i in range(key_slots, slots)))
    return Template((*params, const), tuple(range(slots + 1)), (), slots, key_slots, digest)


def _graph(chance: random.Random, count: int, *, has_samples: bool) -> Graph:
    counts = [{slots, slots // 2} if has_samples else {slots} for slots in range(4)]
    templates = [_template(slots, b"%d" % c, key) for slots, keys in enumerate(counts) for key in keys for c in (1, 2)]
    template_of, first, parents = array("I"), array("I", [0]), array("I")
    for node in range(count):
        fitting = [i for i, t in enumerate(templates) if t.slots <= node]
        template_of.append(chance.choice(fitting))
        slots = templates[template_of[-1]].slots
        waits = chance.randrange(2) if node else 0
        parents.extend(chance.randrange(max(0, node - 6), node) for _ in range(slots + waits))
        first.append(len(parents))
    rows, shares = (ROWS, [8, 4, 2, 1]) if has_samples else (ROWS[:2], [8, 4])
    electron_of = array("I", [chance.choices(range(len(rows)), shares)[0] for _ in range(count)])
    ordinals = array("I", [chance.randrange(2) for _ in range(count)])
    return Graph(rows, templates, electron_of, template_of, ordinals, first, parents, Ref(0, ()), (count - 1,))


def _record(value: int, *, is_sample: bool) -> Record:
    return Record(digest_of(b"%d" % value), bytes(16), 0.1, 1.0, 8, is_sample, 0, NO_PARTS, (), "pure", "0" * 32)


def _decided(planner: Planner, graph: Graph, known: dict[Digest, Record], *, at_once: bool) -> Sequence[Decision]:
    if at_once:
        return planner.decide_all(lambda keys: [known.get(key) for key in keys])
    return [planner.decide(node) for node in range(len(graph))]


def test_what_is_decided_at_once_is_what_is_decided_one_by_one() -> None:
    chance = random.Random(7)
    met = {"odd": 0, "odd, without samples": 0, Hit: 0, Miss: 0, Same: 0, Unknown: 0}
    for turn in range(250):
        graph = _graph(chance, 60, has_samples=turn < 150)
        prefixes = [row.code for row in ROWS]
        policy = chance.choice([Policy(), Policy(), Policy(stochastic=True), Policy(names=("other",))])
        kept: dict[Digest, Record] | None = chance.choice([None, {}, {}])
        known: dict[Digest, Record] = {}
        share, odd = chance.choice([0.3, 0.9, 1.0]), chance.choice([0.0, 0.0, 0.05])

        def lookup(key: Digest, known: dict[Digest, Record] = known, share: float = share) -> Record | None:
            if key not in known and chance.random() < share:
                known[key] = _record(len(known), is_sample=chance.random() < 0.2)
            return known.get(key)

        # One that draws has samples; of the others few did not repeat themselves.
        first = Planner(graph, prefixes, policy, lookup, kept)
        for node in range(len(graph)):
            decision = first.decide(node)
            if isinstance(decision, Hit):
                is_odd = chance.random() < odd
                record = decision.record._replace(is_sample=graph.row_of(node).stochastic or is_odd)
                known[decision.key] = record
                first.settle(node, decision.key, record)
                met["odd" if turn < 150 else "odd, without samples"] += is_odd
                if kept is not None and chance.random() < 0.2:
                    kept[decision.key] = _record(-node, is_sample=record.is_sample)
        planners = [Planner(graph, prefixes, policy, known.get, kept) for _ in range(2)]
        one, many = (_decided(planners[i], graph, known, at_once=bool(i)) for i in range(2))
        assert list(map(repr, many)) == list(map(repr, one))
        assert planners[1].identities == planners[0].identities
        for decision in one:
            met[type(decision)] = met.get(type(decision), 0) + 1
    assert all(met.values()), met


def test_a_node_hanging_on_many_samples_is_no_look_up_for_each() -> None:
    count = 2000
    electron_of = array("I", [2] * count + [0] * count)
    template_of = array("I", [0] * count + [1] * count)
    templates = [_template(0, b"0", 0), _template(1, b"1", 1)]
    first = array("I", [*([0] * (count + 1)), *range(1, count + 1)])
    graph = Graph(
        ROWS, templates, electron_of, template_of, array("I", range(2 * count)), first, array("I", range(count)),
        Ref(0, ()), (0,),
    )  # fmt: skip
    asked: list[int] = []

    def lookup_many(keys: list[Digest]) -> list[Record | None]:
        asked.append(len(keys))
        return [_record(0, is_sample=len(asked) == 1)._replace(value=key) for key in keys]

    planner = Planner(graph, [row.code for row in ROWS], Policy(), lambda _: None, None)
    assert all(isinstance(one, Hit) for one in planner.decide_all(lookup_many))  # type: ignore[arg-type]
    assert asked == [count, count]


def test_a_template_written_the_short_way_is_the_json_that_it_was() -> None:
    plain = Const(digest_of(b"x"), b"\x00\xff raw", None)
    large = Const(digest_of(b"y"), None, digest_of(b"z"))
    named = Const(digest_of(b"f"), b"", None, (("/a/b", digest_of(b"f")),))
    empty = Const(digest_of(b"e"), b"", None)
    deep = Items("dict", (plain, Items("list", (Ref(1, (("item", 0), ("attr", "x"))), large))))
    params = (("a", plain), ('quo"te\\é', Ref(0, ())), ("b", deep), ("**k", named), ("l", large), ("e", empty))
    digest = template_digest(params, leave_out=frozenset())
    calls = [
        Template(params, (0, 1), (("b", 2), ("ü", 3)), 2, 2, digest),
        Template(params[:2], (0, 1), (), 1, 0, digest, frozenset({"a", 'quo"te\\é'})),
        Template((), (), (), 0, 0, digest),
    ]
    for template in calls:
        written = template_dumps(template)
        assert written == json.dumps(template_to_json(template), separators=(",", ":")).encode()
        assert bindings.template_from_json(json.loads(written)) == template

    def told_of(lines: list[bytes]) -> list[tuple[Digest, int, int]]:
        return templates.Recorded(memoryview(b"\n".join(lines)), len(lines)).key_parts()

    told = told_of([template_dumps(call) for call in calls])
    assert told == [(t.digest, t.slots, t.key_slots) for t in calls]
    assert told_of([b" " + json.dumps(template_to_json(call)).encode() for call in calls]) == told


def test_a_replacement_decodes_no_calls_but_those_it_takes_over() -> None:
    calls = [_template(0, b"0", 0), _template(1, b"1", 1), _template(1, b"2", 1)]
    recorded = templates.Recorded(memoryview(b"\n".join(map(template_dumps, calls))), len(calls))
    takes_any = replace(ROWS[1], signature=Signature((), known=False))
    graph = Graph(
        (ROWS[0], takes_any), recorded, array("I", [0, 0, 1]), array("I", range(3)), array("I", [0, 0, 0]),
        array("I", [0, 0, 1, 2]), array("I", [0, 1]), Ref(0, ()), (2,),
    )  # fmt: skip
    stands_in = replace(takes_any, name="new", code=digest_of(b"new"))
    after = substitute(graph, {"other": stands_in}, lambda _row, _name: None)
    assert list(recorded._decoded) == [2]
    assert after.templates[after.template_of[2]].params[0][1] == Ref(0, ())
    assert after.template_keys() == [(t.digest, t.slots, t.key_slots) for t in after.templates]
    assert len(after.templates) == 4
    assert [after.templates[-1], *after.templates[:3]] == [after.templates[3], *calls]
    written = b"".join(templates.text_of(after.templates))
    assert written.split(b"\n") == [template_dumps(one) for one in after.templates]
    assert list(manifest.templates_naming_blobs(after)) == [after.templates[3]]


def test_calls_that_are_kept_as_lines_are_what_they_were() -> None:
    calls = [_template(at % 3, b"%d" % at, at % 3) for at in range(300)]
    made, plain = templates.Growing(), [*calls, *calls[:1] * templates.OBJECTS, *calls]
    for one in plain:
        made.append(one)
    assert (len(made), made[:300], made[-300:]) == (len(plain), calls, calls)
    assert templates.lines_of(made) == [template_dumps(one) for one in plain]
    assert templates.key_parts_of(made)[-300:] == [(one.digest, one.slots, one.key_slots) for one in calls]


def test_a_recorded_call_is_found_without_taking_the_others_apart() -> None:
    calls = [_template(at % 3, b"x" * (at * 7919 % 400), at % 3) for at in range(1500)]
    recorded = templates.Recorded(memoryview(b"\n".join(map(template_dumps, calls))), len(calls))
    order = list(range(len(calls)))
    random.Random(0).shuffle(order)
    assert all(recorded[at] == calls[at] for at in order)
    assert "lines" not in vars(recorded)


def _taking(*names: str, defaults: str = "") -> Signature:
    return Signature(tuple(Parameter(name, "any", name in defaults.split(), "", "") for name in names))


def _three_calls(before: Row) -> tuple[Graph, templates.Recorded]:
    calls = [_template(1, b"%d" % at, 1) for at in range(3)]
    recorded = templates.Recorded(memoryview(b"\n".join(map(template_dumps, calls))), len(calls))
    columns = array("I", [0, 1, 1, 1]), array("I", [0, 0, 1, 2]), array("I", [0] * 4), array("I", [0, 0, 1, 2, 3])
    return Graph((ROWS[0], before), recorded, *columns, array("I", [0, 1, 2]), Ref(0, ()), (3,)), recorded


def test_what_takes_calls_as_they_were_recorded_looks_at_none_of_them() -> None:
    before = replace(ROWS[1], signature=_taking("p0", "c"))
    graph, recorded = _three_calls(before)
    for signature in (_taking("p0", "c"), _taking("p0", "c", "more", defaults="more")):
        stands_in = replace(before, name="new", code=digest_of(b"new"), signature=signature)
        after = substitute(graph, {"other": stands_in}, lambda _row, _name: digest_of(b"1"))
        assert after.rows == (ROWS[0], stands_in)
        assert after.templates is graph.templates
        assert not recorded._decoded


def test_of_calls_that_give_a_default_itself_only_these_are_looked_at() -> None:
    before = replace(ROWS[1], signature=_taking("p0", "c"))
    graph, recorded = _three_calls(before)
    stands_in = replace(before, name="new", signature=_taking("p0", "c", defaults="c"))
    after = substitute(graph, {"other": stands_in}, lambda _row, _name: digest_of(b"1"))
    assert list(recorded._decoded) == [1]
    assert [after.template(node).usual for node in (1, 2, 3)] == [frozenset(), frozenset("c"), frozenset()]
    assert after.template(2).digest == template_digest([("p0", Ref(0, ()))], leave_out=frozenset())


def test_what_takes_them_in_another_order_is_given_them_so() -> None:
    graph, _ = _three_calls(replace(ROWS[1], signature=_taking("p0", "c")))
    after = substitute(graph, {"other": replace(ROWS[1], signature=_taking("c", "p0"))}, lambda _row, _name: None)
    assert [name for name, _ in after.template(1).params] == ["c", "p0"]


@pytest.mark.parametrize("names", [["p0"], ["p0", "c", "more"]])
def test_what_cannot_take_them_says_so(names: list[str]) -> None:
    graph, _ = _three_calls(replace(ROWS[1], signature=_taking("p0", "c")))
    with pytest.raises(BindError):
        substitute(graph, {"other": replace(ROWS[1], signature=_taking(*names))}, lambda _row, _name: None)
