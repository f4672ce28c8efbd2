"""What the shell offers after a Tab: ids, lattices of a file, names of inputs. Runs no user code."""

from __future__ import annotations

import ast
from time import time
from typing import TYPE_CHECKING

from cas_run.ids import looks_like_id, short_id
from cas_run.phrases import ago
from cas_run.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    import click
    from click.shell_completion import CompletionItem

    from cas_run.backend import Backend

SHOWN = 30


def _item(value: str, *, type: str = "plain", help: str | None = None) -> CompletionItem:  # noqa: A002 - as click's
    from click.shell_completion import CompletionItem

    return CompletionItem(value, type, help)


def _backend(ctx: click.Context) -> Backend:
    """As `Session.backend`, but for somebody who waits for a prompt, and it is stdout that the shell reads."""
    from cas_run.destination import server_of

    session = ctx.ensure_object(Session)
    url = server_of(session.server, session.store, "--server")
    if url is None:
        from cas_run.backend import Local

        return Local(session.store, create=False)
    from cas_run.remote import Remote

    return Remote.at(url, timeout=2, retries=0)


def ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The latest dispatches; none, in silence, if there is no store to ask."""
    del param
    if incomplete.startswith("@"):
        told = {"@last": "the latest dispatch", "@last~1": "the one before"}
        return [_item(text, help=about) for text, about in told.items() if text.startswith(incomplete)]
    try:
        dispatches = _backend(ctx).dispatches(1000 if incomplete else SHOWN, None, None)
        return [
            _item(
                short_id(result.dispatch_id),
                help=f"{result.lattice} {result.status.value.lower()} {ago(time() - result.started)}",
            )
            for result in dispatches
            if result.dispatch_id.startswith(incomplete.lower())
        ][:SHOWN]
    except Exception:  # noqa: BLE001 - a completion that fails offers nothing; it must not write into the prompt
        return []


def targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Python files; after the colon, the lattices in the file."""
    del ctx, param
    from pathlib import Path

    place, colon, name = incomplete.rpartition(":")
    if colon:
        return [_item(f"{place}:{n}") for n in _lattices(Path(place)) if n.startswith(name)]
    return [_item(incomplete, type="file")]


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Whatever lies there."""
    del ctx, param
    return [_item(incomplete, type="file")]


def folders(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Folders."""
    del ctx, param
    return [_item(incomplete, type="dir")]


def ids_and_targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Where either will do."""
    return [*ids(ctx, param, incomplete), *targets(ctx, param, incomplete)]


def inputs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`C=`, `gamma=`: the inputs of the dispatch, or the parameters of the lattice, that the line names."""
    del param
    # An option without its value ends click's parsing early: what it has not looked at lies in ctx.args.
    words = [ctx.params.get("target"), ctx.params.get("dispatch_id"), *ctx.args]
    target = next((word for word in words if isinstance(word, str)), "")
    names = _recorded(ctx, target) if looks_like_id(target) else _written(target)
    return [_item(f"{name}=") for name in names if name.startswith(incomplete)]


def replacements(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`train=`: the electrons of the dispatch that the line names; behind that, a file and the functions in it."""
    from pathlib import Path

    name, equals, target = incomplete.partition("=")
    if not equals:
        labels = [str(item.value) for item in nodes(ctx, param, name)]
        return [_item(f"{electron}=") for electron in dict.fromkeys(label.partition("#")[0] for label in labels)]
    place, colon, function = target.rpartition(":")
    if not colon:
        return [_item(target, type="file")]
    return [_item(f"{name}={place}:{n}") for n in _functions(Path(place)) if n.startswith(function)]


def nodes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The nodes of the dispatch that the line names, each with what became of it."""
    del param
    try:
        backend = _backend(ctx)
        found = backend.result(backend.resolve(str(ctx.params.get("dispatch_id") or "@last"))).nodes
        items = [_item(node.label, help=f"{node.status}: {node.reason}") for node in found]
        return [item for item in items if item.value.startswith(incomplete)][:SHOWN]
    except Exception:  # noqa: BLE001 - as in ids
        return []


def _recorded(ctx: click.Context, text: str) -> list[str]:
    try:
        backend = _backend(ctx)
        return list(backend.result(backend.resolve(text)).inputs)
    except Exception:  # noqa: BLE001 - as in ids
        return []


def _written(target: str) -> list[str]:
    from pathlib import Path

    place, _, name = target.rpartition(":")
    function = _lattices(Path(place)).get(name)
    if function is None:
        return []
    return [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]


def _lattices(path: Path) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions that look like lattices."""
    return {
        name: node
        for name, node in _functions(path).items()
        if any("lattice" in ast.unparse(decorator) for decorator in node.decorator_list)
    }


def _functions(path: Path) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """Those of a file, by reading it: nothing of it is executed."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}
    return {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
