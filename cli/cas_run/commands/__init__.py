"""The subcommands: one module each, named as the command is, which holds a `command`; and the list of them.

The list is what `cas-run --help` shows, so that it need not import them all. A line there is to fit into a terminal.
"""

from __future__ import annotations

SUMMARIES = {
    "Work": {
        "cancel": "Stop a dispatch that runs, also one of another process.",
        "plan": "Say what would run, why, and how long it took last time.",
        "redispatch": "Run an earlier dispatch again, by its id.",
        "run": "Run a workflow.",
    },
    "Look": {
        "diff": "Say how two dispatches differ, node by node.",
        "explain": "Say why nodes ran.",
        "list": "List dispatches, newest first.",
        "logs": "Show what electrons printed, while they run or afterwards.",
        "result": "Print a result.",
        "show": "Show a dispatch: what ran and why, what failed, the result.",
    },
    "Keep": {
        "accept": "Record that a change of an electron means the same as before.",
        "backup": "Copy the whole store while others write to it.",
        "compact": "Give back the space that removed rows left.",
        "doctor": "Check the store, and put in order what can be.",
        "du": "Tell where the bytes are.",
        "export": "Write dispatches into one file, for another store.",
        "gc": "Remove what nothing needs; with a limit, evict results.",
        "import": "Take the dispatches of a file into the store.",
        "pin": "Keep all results of dispatches, whatever gc is told.",
        "rm": "Remove dispatches from the history.",
        "stats": "Sum up the store: dispatches, hits, time saved, bytes.",
        "unpin": "Take back what pin said of dispatches.",
        "verify": "Run electrons of a dispatch again and compare.",
    },
    "Serve": {
        "serve": "Serve the store over HTTP.",
        "token": "Make, list and revoke tokens of the server.",
    },
    "Set up": {
        "completion": "Print the completion script of a shell.",
    },
}
NAMES = sorted(name for names in SUMMARIES.values() for name in names)
