"""Names whose reading means more than the name: they make count what otherwise doesn't. Pure."""

from __future__ import annotations

# Reads of what usually doesn't count, and what it is. Where one of these is met on an object that isn't known, it
# counts for all that is reached.
REFLECTIVE = {
    **dict.fromkeys(("__name__", "co_name"), "names"),
    **dict.fromkeys(("__qualname__", "co_qualname"), "qualnames"),
    **dict.fromkeys(("__module__",), "modules"),
    **dict.fromkeys(("__doc__", "getdoc", "co_consts"), "docs"),
    **dict.fromkeys(("__annotations__", "get_type_hints", "get_annotations", "__annotate__"), "annotations"),
    **dict.fromkeys(
        ("signature", "getfullargspec", "getcallargs", "__signature__", "__defaults__", "__kwdefaults__"),
        "signatures",
    ),
    **dict.fromkeys(("co_varnames", "co_argcount", "co_names", "co_code"), "signatures"),
    **dict.fromkeys(("__orig_bases__", "get_original_bases", "__type_params__", "__parameters__"), "generics"),
    **dict.fromkeys(("__wrapped__", "unwrap"), "wrapped"),
    **dict.fromkeys(("__subclasses__",), "subclasses"),
    **dict.fromkeys(("__globals__", "f_globals", "getmodule"), "namespaces"),
    **dict.fromkeys(("getsource", "getsourcelines", "findsource", "co_firstlineno"), "sources"),
    # Of packages: what pandas aggregates by is named after the functions, what SciPy fits has as many parameters as its
    # function, and what pydantic tells of a model has its texts.
    **dict.fromkeys(("agg", "aggregate", "pivot_table", "crosstab"), "labels"),
    **dict.fromkeys(("curve_fit",), "parameters"),
    **dict.fromkeys(("model_json_schema", "json_schema", "model_fields"), "docs"),
}
# pandas labels by the names of the functions where these are given several: `frame.apply([mean, spread])`.
LABELLING = frozenset({"apply", "transform"})
# Those that lead to more: code, values, scripts that are run, variables of the environment.
WIDENING = frozenset(
    {
        "wrapped",
        "namespaces",
        "signatures",
        "annotations",
        "subclasses",
        "programs",
        "variables",
        "entry points",
        "pickles",
    }
)
# Of a class: its name always counts.
OF_CLASSES = {"__qualname__": "class qualnames", "__module__": "modules", "__doc__": "docs"}

# Readers of the names of local variables: Python's own, those of them that do it without an argument, and frames.
LOCALS_READERS = frozenset({"locals", "eval", "exec", "vars", "dir"})
WITHOUT_ARGUMENT = frozenset({"vars", "dir"})
FRAMES = frozenset({"_getframe", "currentframe", "f_locals"})
# Readers of any name of the module at all.
MODULE_READERS = frozenset({"globals", "eval", "exec"})
# Of packages, that look up what a text names in the frame that calls them: `frame.query("x > @limit")`, and
# `numexpr.evaluate("a * b")`, `polars.sql("select * from frame")` where nothing marks the variable.
QUERIES = frozenset({"query", "eval"})
BARE_QUERIES = frozenset({"eval", "evaluate", "sql", "SQLContext"})
# What leads on to more than is named.
LEADING_ON = MODULE_READERS | {"__subclasses__"}
IMPORTERS = frozenset({"import_module", "__import__", "find_spec"})  # the last looks whether there is one
LOADERS = frozenset(
    {"resolve_name", "locate", "run_module", "run_path", "spec_from_file_location", "exec_module", "load_module"}
    | {"iter_modules", "walk_packages"}
)
# Functions of Python that tell how the functions are called that are running: by what module, under which name.
OF_CALLERS = frozenset(
    {("inspect", name) for name in ("stack", "trace", "getouterframes", "getinnerframes", "getframeinfo")}
    | {("traceback", name) for name in ("extract_stack", "extract_tb", "walk_stack", "walk_tb", "StackSummary")}
)
# What gives the entry points of distributions, the project's own among them.
OF_ENTRY_POINTS = frozenset({"entry_points", "iter_entry_points", "get_entry_map", "load_entry_point"})
# What brings objects back from bytes, of modules that name their classes in these.
UNPICKLERS = frozenset({"loads", "load", "Unpickler", "_loads", "_load", "_Unpickler", "read_pickle"})
# The first look where code that came out of a capsule has its modules, if it calls them itself.
OF_PICKLES = {
    **dict.fromkeys(("pickle", "_pickle", "cloudpickle"), frozenset({"pickles"})),
    **dict.fromkeys(("dill", "joblib", "pandas", "shelve", "torch"), frozenset({"pickles", "pickles elsewhere"})),
}
# What runs another program, besides all of `subprocess`.
RUNNERS = frozenset(
    {("os", name) for name in ("system", "popen", "posix_spawn", "execv", "execl", "spawnv", "spawnl")}
    | {("asyncio", name) for name in ("create_subprocess_exec", "create_subprocess_shell")}
)
# What reads the environment, `os.path.expandvars` too.
_OF_ENVIRONMENT = frozenset({"environ", "environb", "getenv", "getenvb", "expandvars"})
# Where these are defined, by the module that everybody has them from.
_HOMES = {
    **dict.fromkeys(("os", "posix", "nt", "posixpath", "ntpath"), "os"),
    **dict.fromkeys(("asyncio", "asyncio.subprocess"), "asyncio"),
    "subprocess": "subprocess",
}
_NOTHING, _PROGRAMS, _VARIABLES = frozenset[str](), frozenset({"programs"}), frozenset({"variables"})

# What marks code for type checkers: `typing.final`, `override`, `no_type_check`.
MARKS = frozenset({"__final__", "__override__", "__no_type_check__"})

# Attributes of a module that lead to all that is in it.
WHOLE_MODULE = frozenset({"__dict__", "__path__", "__spec__", "__loader__", "__class__", "__dir__", "__getattribute__"})


def led_to(module: str | None, names: tuple[str, ...]) -> frozenset[str]:
    """What reading this of a module leads to: programs that it runs, variables of the environment, pickles."""
    home = _HOMES.get(module or "")
    if home is None and not UNPICKLERS.isdisjoint(names):
        return OF_PICKLES.get(str(module).partition(".")[0], _NOTHING)
    if home is None or not names:
        return _PROGRAMS if home == "subprocess" else _NOTHING
    if home == "subprocess" or (home, names[0]) in RUNNERS:
        return _PROGRAMS
    return _VARIABLES if not _OF_ENVIRONMENT.isdisjoint(names[:2]) else _NOTHING
