"""What the store costs: durable commits, a large array, a store of many records opened, swept and examined."""

from __future__ import annotations

from benchmarks.harness import Options, Report, json_of, table_of
from benchmarks.store import arrays, commits, crowd


def run(options: Options) -> Report:
    found, texts = {}, []
    for part in (commits, arrays, crowd):
        figures, notes = part.measure(options)
        text = "\n".join([table_of(figures), *notes])
        options.say(text + "\n")
        texts.append(text)
        found[part.__name__.rpartition(".")[2]] = {**json_of(figures), "notes": notes}
    return Report("", found)
