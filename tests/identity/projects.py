"""Projects made up at random, and one edit of each: what test_generated_projects.py plays.

A project is a list of definitions that refer to each other over several modules, each by an import of its own
style. It is written out as source, so that what an electron reaches is known by construction and need not be found.
Every choice is made by a `Pick`, which hypothesis or a seed stands behind.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from textwrap import indent
from typing import Any

Pick = Callable[[Sequence[Any]], Any]

# In the order in which they may import each other; a name with a dot lies in a package, spaces has no __init__.
MODULES = ("alpha", "beta", "pkg.gamma", "pkg.delta", "spaces.epsilon", "workflow")
# Imports that leave what a body does as it is, one instead of the other; what is in the module itself counts as `top`.
STYLES = {
    "top": ("module", "alias", "from", "from_as", "star", "conditional", "tried", "held"),
    "lazy": ("lazy_from",),
    "lazy module": ("lazy_module",),
    "getattr": ("getattr",),
    "importlib": ("importlib",),
    "local": ("local_alias",),
}
FROM_A_PACKAGE = {"top": ("reexport", "reexport_module", "from_package"), "lazy": ("lazy_from_package",)}
WITHIN_A_PACKAGE = {"top": ("relative", "relative_module"), "lazy": ("lazy_relative",)}
_TABLES = (STYLES, FROM_A_PACKAGE, WITHIN_A_PACKAGE)
GROUP = {style: group for table in _TABLES for group, styles in table.items() for style in styles}
GROUP["own"] = "top"

# What an expression makes of a definition of each kind: {r} is the reference, {x} an integer.
CALLED = (
    "{r}({x})",
    "(lambda v: {r}(v))({x})",
    "sum({r}(v) for v in ({x}, 1))",
    "sum([{r}(v) for v in range({x} % 3 + 1)])",
    "list(map({r}, [{x}]))[0]",
    "functools.partial({r}, {x})()",
    "functools.reduce(lambda a, v: a + {r}(v), [1, 2], {x})",
    "max([1, 2], key={r})",
)
USES: dict[str, tuple[str, ...]] = {
    "constant": ("{r}", "({x} + {r})", "f'{{{r}}}'.__len__() + {r}"),
    "computed": ("{r}",),
    "mapping": ('{r}["a"]', "sum({r}.values())", '{r}.get("b", 0)', "sum(v for _, v in sorted({r}.items()))"),
    "function": CALLED,
    "lambda": CALLED,
    "nested": CALLED,
    "recursive": CALLED,
    "closure": CALLED,
    "partial": CALLED,
    "bound": CALLED,
    "callable": CALLED,
    "dispatcher": CALLED,
    "cached": CALLED,
    "generator": ("sum({r}({x}))", "next({r}({x}))", "sum(1 + v for v in {r}({x}))"),
    "class": (
        "{r}({x}).value()",
        "{r}({x}).level",
        "{r}.static({x})",
        "{r}.make({x}).value()",
        "{r}.LEVEL",
        "({r}({x}) + 1)",
        "getattr({r}({x}), 'value')()",
        "(lambda made: made.value() + made.LEVEL)({r}({x}))",
    ),
    "instance": ("{r}.value()", "{r}.level"),
    "functions": ('{r}["f"]({x})', "sum(f({x}) for f in {r}.values())", "sum(map(lambda k: {r}[k]({x}), {r}))"),
    "listed": ("{r}[0]({x})", "sum(f({x}) for f in {r})"),
    "enum": ("{r}.A.value", "sum(member.value for member in {r})", "{r}['B'].weight()"),
    "record": ("{r}({x}).total()", "{r}({x}).share", "{r}(1, share=2).total()"),
    "tuple": ("{r}({x}).total()", "{r}({x}).share"),
    "registry": ("sum(f({x}) for f in {r}.values())", "sum({r}[key]({x}) for key in sorted({r}))"),
    "electron": (),
}
CALLABLE: tuple[str, ...] = ("function", "lambda", "nested", "recursive", "closure", "cached")
CALLABLE += ("partial", "bound", "callable", "dispatcher")
FIXED = frozenset({"enum", "instance", "bound", "computed", "decorator", "registry", "plugin"})  # call with own inputs
WITH_BODY = frozenset(
    {"function", "lambda", "nested", "recursive", "closure", "callable", "dispatcher", "cached", "generator"}
    | {"class", "record", "tuple", "enum", "electron", "decorator", "plugin"}
)
KINDS = tuple(kind for kind in USES if kind not in ("electron", "registry"))
NAMED = ("class", "record", "tuple", "enum", "callable", "instance")  # the name of a class shows in what it makes
OPERATORS = ("+", "-", "*", "^", "|")


@dataclass
class Reference:
    target: int
    style: str
    use: str


@dataclass
class Definition:
    number: int
    kind: str
    name: str
    home: str
    factor: int
    operator: str
    default: int
    references: list[Reference] = field(default_factory=list)
    held: list[Reference] = field(default_factory=list)  # what it is made of where it is defined: bases, entries
    decorators: list[Reference] = field(default_factory=list)
    later: Reference | None = None  # to what is defined below it, perhaps in a module that imports its own
    rebound: Reference | None = None  # what its name is given afterwards
    stray: dict[str, bool] = field(default_factory=dict)  # ways to write it that mean nothing


@dataclass
class Project:
    definitions: list[Definition]
    orders: dict[str, list[int]] = field(default_factory=dict)  # of definitions in a module, where not by number
    unused: dict[str, str] = field(default_factory=dict)  # text at the end of a module
    calls: list[int] = field(default_factory=list)  # electrons, in the order in which the lattice calls them
    styles: dict[int, str] = field(default_factory=dict)  # how workflow imports electrons

    def electrons(self) -> list[Definition]:
        return [self.definitions[number] for number in self.calls]

    def within(self, home: str) -> list[Definition]:
        found = [one for one in self.definitions if one.home == home]
        order = self.orders.get(home, [])
        return sorted(found, key=lambda one: (order.index(one.number) if one.number in order else 99, one.number))

    def reached_by(self, number: int) -> set[int]:
        """What a definition depends on, itself included."""
        found: set[int] = set()
        waiting = [number]
        while waiting:
            one = self.definitions[waiting.pop()]
            if one.number in found:
                continue
            found.add(one.number)
            waiting += [reference.target for reference in references_of(one)]
            if one.kind == "registry":
                waiting += [plugin.number for plugin in self.definitions if plugin.kind == "plugin"]
        return found

    def may_go_round(self, number: int) -> bool:
        """Whether a call of this with an x that shrinks leads to calls with an x that doesn't."""
        return any(self.definitions[each].kind in FIXED for each in self.reached_by(number))


def references_of(one: Definition) -> list[Reference]:
    more = [reference for reference in (one.later, one.rebound) if reference]
    return [*one.references, *one.held, *one.decorators, *more]


# --- making up


def made_up(pick: Pick) -> Project:
    homes = [home for home in MODULES[:-1] if pick((True, True, False))] or ["alpha"]
    homes.append("workflow")
    project = Project([])
    if pick((True, False, False)):
        _add(project, pick, "registry", homes[0])
    for _ in range(pick(range(3, 10))):
        kind = pick((*KINDS, "function", "class", "function", "decorator"))
        _add(project, pick, kind, pick(homes))
    if project.definitions[0].kind == "registry":
        for _ in range(pick((1, 2))):
            _add(project, pick, "plugin", pick(homes))
    for _ in range(pick((1, 2, 2, 3))):
        electron = _add(project, pick, "electron", pick(("workflow", "workflow", *homes)))
        project.calls.append(electron.number)
        project.styles[electron.number] = pick(("from", "module", "from_as"))
    for one in project.definitions:
        below = [
            other
            for other in project.definitions[one.number + 1 :]
            if other.kind in CALLABLE
            and other.home in (one.home, *MODULES[:-1])  # a script would be imported once more
            and not (one.number in project.reached_by(other.number) and project.may_go_round(other.number))
        ]
        if one.kind in ("function", "recursive", "electron") and below and pick((True, False, False)):
            other = pick(below)
            style = "own" if other.home == one.home else pick(("lazy_from", "lazy_module", "importlib"))
            one.later = Reference(other.number, style, "{r}({x})")
    return project


def _add(project: Project, pick: Pick, kind: str, home: str) -> Definition:
    number = len(project.definitions)
    name = f"{'Thing' if kind in ('class', 'record', 'tuple', 'enum') else 'thing'}{number}"
    one = Definition(number, kind, name, home, pick(range(2, 30)), pick(OPERATORS), pick(range(1, 20)))
    if kind in WITH_BODY:
        for _ in range(pick((0, 1, 1, 2)) if kind != "electron" else pick((1, 2, 2, 3))):
            _refer(project, pick, one, one.references, tuple(USES), lazy=kind != "lambda")
    if kind == "class" and pick((True, False)):
        _refer(project, pick, one, one.held, ("class",))
    if kind in ("functions", "listed", "partial"):
        for _ in range(1 if kind == "partial" else pick((1, 2))):
            _refer(project, pick, one, one.held, CALLABLE)
    if kind == "instance":
        _refer(project, pick, one, one.held, ("class",))
    if kind == "bound":
        _refer(project, pick, one, one.held, ("class",))
    if kind in ("computed", "record", "mapping"):
        _refer(project, pick, one, one.held, ("constant", "function", "mapping", "enum"))
    if kind == "plugin":
        _refer(project, pick, one, one.held, ("registry",))
    if kind in ("function", "electron", "class") and pick((True, False, False)):
        _refer(project, pick, one, one.decorators, ("decorator",))
    project.definitions.append(one)
    return one


def _refer(
    project: Project, pick: Pick, one: Definition, where: list[Reference], kinds: Sequence[str], *, lazy: bool = False
) -> None:
    known = [
        other
        for other in project.definitions
        if other.kind in kinds
        and MODULES.index(other.home) <= MODULES.index(one.home)
        and other.kind not in ("electron", "plugin")
        and not (one.kind == "plugin" and where is one.references and 0 in project.reached_by(other.number))
    ]
    if known:
        target = pick(known)
        use = pick(USES.get(target.kind, ("{r}",)))
        groups = ("top", "top", *list(STYLES)[1:]) if lazy else ("top", "top", "top", "getattr")
        known_style = next((each.style for each in references_of(one) if each.target == target.number), "")
        style = known_style or style_for(pick, one.home, target.home, groups)
        if not lazy and GROUP[style] not in groups:
            return  # a function that needs it early imports it in its body already: by two names it would be two things
        where.append(Reference(target.number, style, use))


def style_for(pick: Pick, home: str, target: str, groups: Sequence[str] = ("top",)) -> str:
    if home == target:
        return "own"
    within = target.startswith("pkg.") and home.startswith("pkg.")
    more = {} if not target.startswith("pkg.") else WITHIN_A_PACKAGE if within else FROM_A_PACKAGE
    group = pick(groups)
    chosen: str = pick(STYLES[group] + more.get(group, ()))
    return chosen


# --- writing out


class Writer:
    """The text of one module."""

    def __init__(self, project: Project, home: str) -> None:
        self.project = project
        self.home = home
        self.imports: list[str] = []

    def text(self) -> str:
        if self.home == "workflow":
            self.imports.append("import cas_run as ct")
        parts = [self.definition(one) for one in self.project.within(self.home)]
        if self.home == "workflow":
            parts.append(self.lattice())
        if any(one.kind == "electron" for one in self.project.within(self.home)) and self.home != "workflow":
            self.imports.append("import cas_run as ct")
        plain = [f"import {name}" for name in ("dataclasses", "enum", "functools", "importlib", "sys", "typing")]
        head = "\n".join([*plain, *dict.fromkeys(self.imports)])
        between = "\n\n\n# %%\n" if self.home == "workflow" else "\n\n\n"  # cells, if it is a notebook's
        return between.join([head, *parts]) + "\n" + self.project.unused.get(self.home, "")

    def lattice(self) -> str:
        calls = []
        for place, one in enumerate(self.project.electrons()):
            style = self.project.styles[one.number] if one.home != "workflow" else "own"
            name, _ = self.named(Reference(one.number, style, ""))
            calls.append(f"{name}(n + {place})")
        for one in self.project.definitions:
            if one.kind == "plugin" and one.home != "workflow":
                self.imports.append(f"import {one.home}")
        return f"@ct.lattice\ndef main(n=20):\n    return [{', '.join(calls)}]"

    def named(self, reference: Reference) -> tuple[str, str]:
        """How the module writes what is referred to, and what must stand before that in a body."""
        target = self.project.definitions[reference.target]
        name, home = target.name, target.home
        last = home.rpartition(".")[2]
        match reference.style:
            case "own":
                return name, ""
            case "module":
                self.imports.append(f"import {home}")
                return f"{home}.{name}", ""
            case "alias":
                self.imports.append(f"import {home} as {last}_module")
                return f"{last}_module.{name}", ""
            case "from":
                self.imports.append(f"from {home} import {name}")
                return name, ""
            case "from_as":
                self.imports.append(f"from {home} import {name} as {name}_other")
                return f"{name}_other", ""
            case "star":
                self.imports.append(f"from {home} import *")
                return name, ""
            case "conditional":
                self.imports.append(
                    f"if sys.version_info >= (3, 0):\n    from {home} import {name}\nelse:\n    {name} = None"
                )
                return name, ""
            case "tried":
                self.imports.append(f"try:\n    from {home} import {name}\nexcept ImportError:\n    {name} = None")
                return name, ""
            case "getattr":
                self.imports.append(f"import {home}")
                return f'getattr({home}, "{name}")', ""
            case "held":
                self.imports.append(f"import {home}\n{name}_held = {home}.{name}")
                return f"{name}_held", ""
            case "lazy_from":
                return name, f"from {home} import {name}\n"
            case "lazy_module":
                return f"{home}.{name}", f"import {home}\n"
            case "importlib":
                return f'importlib.import_module("{home}").{name}', ""
            case "local_alias":
                self.imports.append(f"import {home} as {last}_module")
                return f"local_{name}", f"local_{name} = {last}_module.{name}\n"
            case "reexport":
                self.imports.append(f"from pkg import {name}")
                return name, ""
            case "reexport_module":
                self.imports.append("import pkg")
                return f"pkg.{name}", ""
            case "from_package":
                self.imports.append(f"from pkg import {last}")
                return f"{last}.{name}", ""
            case "lazy_from_package":
                return f"{last}.{name}", f"from pkg import {last}\n"
            case "relative":
                self.imports.append(f"from .{last} import {name}")
                return name, ""
            case "relative_module":
                self.imports.append(f"from . import {last}")
                return f"{last}.{name}", ""
            case "lazy_relative":
                return name, f"from .{last} import {name}\n"
        raise ValueError(reference.style)

    def body(self, one: Definition, x: str = "x", result: str = "return total % 100003") -> str:
        """Statements that count what is referred to, with a value that any change of that is likely to change."""
        before, lines = [], []
        start = f"{x} {one.operator} {one.factor}"
        if one.stray.get("spelled"):
            start = f"( {x}{one.operator}{one.factor} )  # spelled another way"
        for reference in one.references:
            name, needed = self.named(reference)
            before.append(needed)
            lines.append(f"total = total * 31 + {reference.use.format(r=name, x=x)}\n")
        if one.later:
            name, needed = self.named(one.later)
            later = one.later.use.format(r=name, x=f"({x} // 16)")
            lines.append(f"if {x} > 8:\n" + indent(f"{needed}total += {later}\n", "    "))
        doc = '"""A docstring."""\n' if one.stray.get("doc") else ""
        blank = "\n# a comment\n\n" if one.stray.get("comment") else ""
        return doc + "".join(dict.fromkeys(before)) + f"total = {start}\n" + blank + "".join(lines) + result + "\n"

    def definition(self, one: Definition) -> str:
        text: str = getattr(self, f"write_{one.kind}")(one)
        marks = "".join(f"@{self.named(mark)[0]}\n" for mark in one.decorators)
        if one.kind == "electron":
            marks = f"@ct.electron\n{marks}"
        comment = "# A comment before it.\n" if one.stray.get("comment") else ""
        text = comment + marks + text.rstrip("\n")
        if one.rebound:
            text += f"\n{one.name} = {self.named(one.rebound)[0]}"
        return text

    def function(self, one: Definition, name: str, more: str = "", result: str = "return total % 100003") -> str:
        x, arrow = ("x: int", " -> int") if one.stray.get("annotated") else ("x", "")
        body = self.body(one, result=f"total += d\n{more}{result}")
        return f"def {name}({x}, d={one.default}){arrow}:\n" + indent(body, "    ")

    def write_constant(self, one: Definition) -> str:
        return f"{one.name}{': int' if one.stray.get('annotated') else ''} = {one.factor}"

    def write_computed(self, one: Definition) -> str:
        return f"{one.name} = {one.factor} * 7 + {self.sum_of(one)}"

    def sum_of(self, one: Definition) -> str:
        return " + ".join(held.use.format(r=self.named(held)[0], x="3") for held in one.held) or "0"

    def write_mapping(self, one: Definition) -> str:
        return f'{one.name} = {{"a": {one.factor}, "b": {one.default}, "c": {self.sum_of(one)}}}'

    def write_function(self, one: Definition) -> str:
        return self.function(one, one.name)

    write_electron = write_function

    def write_lambda(self, one: Definition) -> str:
        uses = [reference.use.format(r=self.named(reference)[0], x="x") for reference in one.references]
        return f"{one.name} = lambda x, d={one.default}: " + " + ".join([f"(x {one.operator} {one.factor}) + d", *uses])

    def write_nested(self, one: Definition) -> str:
        inner = indent(f"def inner(x):\n{indent(self.body(one), '    ')}", "    ")
        return f"def {one.name}(x, d={one.default}):\n{inner}    return inner(x) + d"

    def write_recursive(self, one: Definition) -> str:
        return self.function(one, one.name, more=f"if d < 3:\n    total += {one.name}(x // 2, d + 1)\n")

    def write_closure(self, one: Definition) -> str:
        body = self.body(one, result="return total % 100003 + cell")
        inner = indent(f"def inner(x):\n{indent(body, '    ')}", "    ")
        return f"def make_{one.name}(cell):\n{inner}    return inner\n\n\n{one.name} = make_{one.name}({one.default})"

    def write_partial(self, one: Definition) -> str:
        if not one.held:
            return f"{one.name} = functools.partial(pow, {one.factor}, mod={one.default + 100})"
        return f"{one.name} = functools.partial(lambda f, k, x: f(x) + k, {self.named(one.held[0])[0]}, {one.factor})"

    def write_bound(self, one: Definition) -> str:
        if not one.held:
            return f"{one.name} = ({one.factor}).__add__"
        return f"{one.name} = {self.named(one.held[0])[0]}({one.factor}).more"

    def write_callable(self, one: Definition) -> str:
        call = indent(self.body(one, result="return total % 100003 + self.held"), "        ")
        return (
            f"class Of{one.name}:\n    def __init__(self, held):\n        self.held = held\n\n"
            f"    def __call__(self, x):\n{call}\n\n{one.name} = Of{one.name}({one.default})"
        )

    def write_dispatcher(self, one: Definition) -> str:
        return (
            f"@functools.singledispatch\ndef {one.name}(x):\n    return {one.default}\n\n\n"
            f"@{one.name}.register\ndef _(x: int):\n{indent(self.body(one), '    ')}\n\n"
            f"@{one.name}.register(str)\ndef _(x):\n    return len(x)"
        )

    def write_cached(self, one: Definition) -> str:
        return "@functools.lru_cache(maxsize=None)\n" + self.function(one, one.name)

    def write_generator(self, one: Definition) -> str:
        return self.function(one, one.name, result="yield total % 1009\nfor i in range(d):\n    yield i")

    def write_decorator(self, one: Definition) -> str:
        before = "".join(self.named(reference)[1] for reference in one.references)
        adds = "".join(f" + {ref.use.format(r=self.named(ref)[0], x='2')}" for ref in one.references)
        return (
            f"def {one.name}(thing):\n"
            f"    if isinstance(thing, type):\n        thing.LEVEL = {one.factor}\n        return thing\n\n"
            f"    @functools.wraps(thing)\n    def wrapper(*args, **kwargs):\n{indent(before, '        ')}"
            f"        return thing(*args, **kwargs) * {one.factor}{adds}\n\n    return wrapper"
        )

    def write_class(self, one: Definition) -> str:
        bases = f"({self.named(one.held[0])[0]})" if one.held else ""
        own = self.body(one, x="self.x", result=f"return total % 100003{' + super().value()' if one.held else ''}")
        doc = '    """A docstring."""\n\n' if one.stray.get("doc") else ""
        level = f"LEVEL = {one.default}" if one.default % 3 else "LEVEL = 1"
        return (
            f"class {one.name}{bases}:\n{doc}    {level}\n\n    def __init__(self, x):\n        self.x = x\n\n"
            f"    def value(self):\n{indent(own, '        ')}\n"
            f"    def more(self, x):\n        return self.value() + x\n\n"
            f"    def __add__(self, x):\n        return self.value() + x * {one.default}\n\n"
            f"    @property\n    def level(self):\n        return self.LEVEL * {one.factor}\n\n"
            f"    @staticmethod\n    def static(x):\n        return x * {one.factor}\n\n"
            f"    @classmethod\n    def make(cls, x):\n        return cls(x + {one.default})"
        )

    def write_instance(self, one: Definition) -> str:
        if not one.held:
            return (
                f"class Of{one.name}:\n    level = {one.default}\n\n"
                f"    def value(self):\n        return {one.factor}\n\n\n{one.name} = Of{one.name}()"
            )
        return f"{one.name} = {self.named(one.held[0])[0]}({one.factor})"

    def write_functions(self, one: Definition) -> str:
        entries = "".join(f', "g{place}": {self.named(held)[0]}' for place, held in enumerate(one.held))
        return f'{one.name} = {{"f": lambda x: x * {one.factor}{entries}}}'

    def write_listed(self, one: Definition) -> str:
        entries = "".join(f"{self.named(held)[0]}, " for held in one.held)
        return f"{one.name} = [{entries}lambda x: x * {one.factor}]"

    def write_enum(self, one: Definition) -> str:
        body = indent(self.body(one, x="self.value"), "        ")
        return (
            f"class {one.name}(enum.Enum):\n    A = {one.factor}\n    B = {one.default + 30}\n\n"
            f"    def weight(self):\n{body}"
        )

    def write_record(self, one: Definition) -> str:
        body = indent(self.body(one, x="self.x"), "        ")
        more = f"more: object = dataclasses.field(default_factory=lambda: {self.sum_of(one)})"
        held = f"    {more}\n" if one.held else ""
        return (
            f"@dataclasses.dataclass(frozen=True)\nclass {one.name}:\n"
            f"    x: int\n    share: int = {one.default}\n{held}\n"
            f"    def total(self):\n{body}"
        )

    def write_tuple(self, one: Definition) -> str:
        body = indent(self.body(one, x="self.x"), "        ")
        return (
            f"class {one.name}(typing.NamedTuple):\n    x: int\n    share: int = {one.default}\n\n"
            f"    def total(self):\n{body}"
        )

    def write_registry(self, one: Definition) -> str:
        return f"{one.name} = {{}}"

    def write_plugin(self, one: Definition) -> str:
        registry = self.named(one.held[0])[0]
        return self.function(one, one.name) + f'\n\n{registry}["{one.number}"] = {one.name}'


def written(project: Project) -> dict[str, str]:
    """The files of a project, by their paths."""
    homes = [home for home in MODULES if home == "workflow" or project.within(home)]
    files = {home.replace(".", "/") + ".py": Writer(project, home).text() for home in homes}
    shown = [home for home in homes if home.startswith("pkg.")]
    if shown:
        lines = []
        for home in shown:
            names = ", ".join(one.name for one in project.within(home))
            lines.append(f"from .{home.removeprefix('pkg.')} import {names}\n")
        files["pkg/__init__.py"] = "".join(lines)
    return files


# --- editing


@dataclass(frozen=True)
class Edit:
    what: str
    after: Project
    changed: frozenset[int]  # definitions that mean something else afterwards; none if nothing does


def edited(project: Project, pick: Pick) -> Edit:
    makers = [*REAL, *IDLE]
    while makers:
        maker = makers[pick(range(len(makers)))]
        after = copy.deepcopy(project)
        changed = maker(after, pick)
        if changed is not None and written(after) != written(project):
            name = maker.__name__.strip("_")
            return Edit(name, after, frozenset(changed))
        makers.remove(maker)
    message = "nothing can be edited"
    raise ValueError(message)


def _factor(project: Project, pick: Pick) -> set[int] | None:
    one = pick(project.definitions)
    one.factor += pick((1, 2, 30))
    return {one.number}


def _operator(project: Project, pick: Pick) -> set[int] | None:
    one = pick(project.definitions)
    one.operator = pick([operator for operator in OPERATORS if operator != one.operator])
    return {one.number}


def _default(project: Project, pick: Pick) -> set[int] | None:
    one = pick(project.definitions)
    one.default += 3
    return {one.number}


def _target(project: Project, pick: Pick) -> set[int] | None:
    """Another import: the same use of another definition of that kind."""
    one = pick(project.definitions)
    choices = [
        (reference, other)
        for reference in (*one.references, *one.held, *one.decorators)
        for other in project.definitions[: one.number]
        if other.kind == project.definitions[reference.target].kind
        and other.number != reference.target
        and MODULES.index(other.home) <= MODULES.index(one.home)
    ]
    if not choices:
        return None
    reference, other = pick(choices)
    reference.target = other.number
    reference.style = style_for(pick, one.home, other.home)
    return {one.number}


def _drop(project: Project, pick: Pick) -> set[int] | None:
    one = pick(project.definitions)
    places = [where for where in (one.references, one.held, one.decorators) if where]
    if not places or one.kind in ("plugin", "instance", "bound", "partial"):
        return None
    pick(places).pop()
    return {one.number}


def _rebind(project: Project, pick: Pick) -> set[int] | None:
    one = pick([one for one in project.definitions if one.kind in (*CALLABLE, "class")] or [None])
    if one is None:
        return None
    group = CALLABLE if one.kind in CALLABLE else ("class",)
    others = [
        other
        for other in project.definitions[: one.number]
        if other.kind in group and MODULES.index(other.home) <= MODULES.index(one.home)
    ]
    if not others:
        return None
    other = pick(others)
    one.rebound = Reference(other.number, style_for(pick, one.home, other.home), "")
    return {one.number}


def _restyle(project: Project, pick: Pick) -> set[int] | None:
    """Imported in another way."""
    one = pick(project.definitions)
    choices = [reference for reference in references_of(one) if reference.style != "own" and reference is not one.later]
    if not choices:
        return None
    chosen = pick(choices)
    home = project.definitions[chosen.target].home
    style = style_for(pick, one.home, home, (GROUP[chosen.style],))
    for reference in choices:
        if reference.target == chosen.target:
            reference.style = style
    return set()


def _stray(project: Project, pick: Pick) -> set[int] | None:
    """Comments, docstrings, annotations, another layout."""
    one = pick(project.definitions)
    one.stray[pick(("doc", "comment", "annotated", "spelled"))] = True
    return set()


def _unused(project: Project, pick: Pick) -> set[int] | None:
    home = pick([home for home in MODULES if project.within(home)])
    project.unused[home] = "\n\ndef nobody_calls_this(x):\n    return x + 1\n\n\nNOBODY = 3\n"
    return set()


def _rename(project: Project, pick: Pick) -> set[int] | None:
    one = pick([one for one in project.definitions if one.kind not in NAMED])
    one.name = f"{one.name}_renamed"
    return set()


def _move(project: Project, pick: Pick) -> set[int] | None:
    """To another module, with the imports that it needs there and that its users need."""
    one = pick(project.definitions)
    needed = [project.definitions[each.target].home for each in references_of(one) if each is not one.later]
    users = [
        user.home
        for user in project.definitions
        if any(each.target == one.number and each is not user.later for each in references_of(user))
    ]
    lowest = max([0, *map(MODULES.index, needed)])
    highest = min([len(MODULES) - 1, *map(MODULES.index, users)])
    homes = [home for home in MODULES[lowest : highest + 1] if home != one.home]
    if not homes or one.kind == "plugin":
        return None
    one.home = pick(homes)
    if one.home == "workflow" and any(each.later and each.later.target == one.number for each in project.definitions):
        return None
    for user in project.definitions:
        styles: dict[int, str] = {}
        for reference in references_of(user):
            if user is one or reference.target == one.number:
                target, group = project.definitions[reference.target], GROUP[reference.style]
                near, late = user.home == target.home, reference is user.later
                if group == "lazy module" or (near and group != "top") or (late and not near and group == "top"):
                    return None  # the body would have to be another
                style = styles.get(reference.target) or style_for(pick, user.home, target.home, (group,))
                reference.style = styles[reference.target] = style
    return set()


def _reorder(project: Project, pick: Pick) -> set[int] | None:
    """The definitions of a module in another order in which everything still is defined where it is needed."""
    homes = [home for home in MODULES if len(project.within(home)) > 1]
    kinds = {home: {one.kind for one in project.within(home)} for home in homes}
    home = pick([home for home in homes if "plugin" not in kinds[home]] or [None])  # a dict has an order
    if home is None:
        return None
    left, order = list(reversed(project.within(home))), []
    early = any(one.kind in ("computed", "mapping") for one in project.definitions)  # runs what is defined by then
    while left:
        waiting = {one.number for one in left}
        chosen = pick([one for one in left if not waiting & _needed_by(one, early=early)])
        order.append(chosen.number)
        left.remove(chosen)
    project.orders[home] = order
    return set()


def _needed_by(one: Definition, *, early: bool) -> set[int]:
    """What must stand before a definition."""
    first = [*one.held, *one.decorators, *([one.rebound] if one.rebound else [])]
    if early or one.kind == "lambda":
        first += one.references
    return {reference.target for reference in first}


REAL = (_factor, _operator, _default, _target, _drop, _rebind)
IDLE = (_restyle, _stray, _unused, _rename, _move, _reorder)
