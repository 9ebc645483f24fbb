"""A graph as text, and as one HTML page which loads nothing: modules fold, inputs lead to what gives them."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Iterator
from typing import Final

from mlcore.compile.graph import Graph, Value
from mlcore.compile.outline import Group, Step
from mlcore.nn.tabulate import aligned, short_count

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --strong: #2a78d6; }
body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; } p { margin: .3rem 0; } code, .shape { font-family: ui-monospace, monospace; }
header { border-bottom: 1px solid var(--line); padding-bottom: 1rem; margin-bottom: 1rem; }
details { border-left: 2px solid var(--line); margin: .15rem 0 .15rem .2rem; padding-left: .7rem; }
summary { cursor: pointer; } summary:hover, .op:hover { background: var(--soft); }
.line { display: inline-grid; grid-template-columns: minmax(9rem, 1fr) 15rem 6rem 6rem 8rem; gap: .8rem;
  width: calc(100% - 1.2rem); vertical-align: top; }
.op { border-left: 2px solid var(--strong); margin: .15rem 0 .15rem .2rem; padding-left: .7rem; }
.op .line { width: 100%; } .head { border: 0; font-weight: 600; } .op:target { outline: 2px solid var(--strong); }
.number { text-align: right; } .shape { overflow-wrap: anywhere; } .more { color: GrayText; font-size: .9em; }
.bar { align-self: center; height: .5rem; background: var(--soft); } .bar i { display: block; height: 100%;
  background: var(--strong); }
button, input { font: inherit; } .gone { display: none; } a { color: inherit; }
"""

_SCRIPT: Final = """
const all = [...document.querySelectorAll('details')], ops = [...document.querySelectorAll('.op[id]')];
document.getElementById('open').onclick = () => all.forEach(one => one.open = true);
document.getElementById('fold').onclick = () => all.forEach((one, i) => one.open = i === 0);
const reveal = () => {
  let one = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (; one; one = one.parentElement) if (one.tagName === 'DETAILS') one.open = true;
  document.querySelector(':target')?.scrollIntoView({block: 'center'});
};
addEventListener('hashchange', reveal); reveal();
document.getElementById('find').oninput = event => {
  const text = event.target.value.toLowerCase();
  ops.forEach(one => one.classList.toggle('gone', !one.textContent.toLowerCase().includes(text)));
  if (text) all.forEach(one => one.open = !!one.querySelector('.op:not(.gone)'));
};
"""


def page(graph: Graph, top: Group) -> str:
    """The page of a graph and its outline. Every name in it is text: a browser runs nothing of the model's."""
    anchors = {id(value): f"op{i}" for i, node in enumerate(graph.nodes) for value in node.outputs}
    whole = max(top.flops, 1)
    parameters = sum(one.parameters for one in top.steps)
    lines = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline';"
        " script-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">',
        f"<title>{_text(graph.name)}</title><style>{_STYLE}</style></head><body><header>",
        f"<h1>{_text(graph.name)}</h1>",
        f"<p>takes <span class=shape>{', '.join(_text(repr(one)) for one in graph.inputs)}</span></p>",
        f"<p>gives <span class=shape>{', '.join(_value(one, anchors) for _, one in graph.outputs)}</span></p>",
        f"<p>{len(graph.nodes)} operations, {parameters:,} parameters, {short_count(top.flops)} FLOPs</p>",
        "<p><button id=open>open all</button> <button id=fold>fold all</button>",
        ' <input id=find type=search placeholder="find" aria-label="find an operation"></p></header>',
        '<div class="op head"><span class=line><span>module or operation</span><span>gives</span><span class=number>'
        "parameters</span><span class=number>FLOPs</span><span>share</span></span></div>",
        *_group(top, anchors, whole, 0),
        f"<script>{_SCRIPT}</script></body></html>",
    ]
    return "\n".join(lines) + "\n"


def _text(given: object) -> str:
    return html.escape(str(given), quote=True)


def _group(group: Group, anchors: dict[int, str], whole: int, level: int) -> Iterator[str]:
    opened = " open" if level < 2 else ""
    name = f"<b>{_text(group.name)}</b>" + (f" {_text(group.kind)}" if group.kind != group.name else "")
    yield f"<details{opened}><summary>{_line(name, group, whole)}</summary>"
    for part in group.parts:
        if isinstance(part, Step):
            yield _step(part, anchors, whole)
        else:
            yield from _group(part, anchors, whole, level + 1)
    yield "</details>"


def _step(step: Step, anchors: dict[int, str], whole: int) -> str:
    node = step.node
    inputs = ", ".join("none" if one is None else _value(one, anchors) for one in node.inputs)
    more = [f"from {inputs}"] if inputs else []
    more += [f"<code>{_text(name)}={_text(_short(value))}</code>" for name, value in node.sizes.items()]
    if node.line:
        more.append(_text(node.line.rpartition(os.sep)[2]))
    name = f"<code>{_text(node.op.name)}</code>"
    return (
        f'<div class=op id="{anchors[id(node.outputs[0])]}">{_line(name, step, whole)}'
        f"<div class=more>{'; '.join(more)}</div></div>"
    )


def _line(name: str, part: Group | Step, whole: int) -> str:
    share = 100 * part.flops / whole
    return (
        f"<span class=line><span>{name}</span><span class=shape>{_text(part.gives)}</span>"
        f"<span class=number>{short_count(part.parameters)}</span><span class=number>{short_count(part.flops)}</span>"
        f'<span class=bar title="{share:.1f} % of the FLOPs"><i style="width:{share:.1f}%"></i></span></span>'
    )


def _value(value: Value, anchors: dict[int, str]) -> str:
    """A value's name, which leads to what gives it; of what the graph holds, its sizes too."""
    anchor = anchors.get(id(value))
    if anchor is not None:
        return f'<a href="#{anchor}">{_text(value.name)}</a>'
    return _text(repr(value) if value.held else value.name)


def _short(value: object) -> str:
    text = str(value) if not isinstance(value, tuple) else f"({', '.join(map(_short, value))})"
    return text if len(text) <= 120 else text[:117] + "..."


# -- text ----------------------------------------------------------------------------------------------------


def as_text(graph: Graph, top: Group, depth: float = math.inf) -> str:
    """A graph as lines: what each module and operation gives, its parameters and FLOPs; then the totals.

    A module of one operation has one line; modules `depth` levels down are shown as a whole.

    >>> from mlcore import nn
    >>> from mlcore.compile.capture import capture
    >>> from mlcore.compile.outline import outline
    >>> graph = capture(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), (3, 4), dynamic={"input": {0: "n"}})
    >>> print(as_text(graph, outline(graph)))
    takes  input: float32[n, 4]
    gives  1.relu: float32[n, 8]
    FLOPs  at n = 3
    <BLANKLINE>
    layer       what    gives          parameters  FLOPs
    ----------------------------------------------------
    Sequential          float32[n, 8]          40    240
      0         Linear  float32[n, 8]          40    216
      1         ReLU    float32[n, 8]           -     24
    """
    lines = [("layer", "what", "gives", "parameters", "FLOPs"), *_rows(top, 0, depth)]
    widths = [max(len(line[i]) for line in lines) for i in range(5)]
    text = [aligned(line, widths) for line in lines]
    text.insert(1, "-" * max(map(len, text)))
    outputs = [repr(one) for _, one in graph.outputs]
    ends = [f"takes  {', '.join(map(repr, graph.inputs))}", f"gives  {', '.join(outputs)}"]
    sizes = ", ".join(f"{name} = {value.shape[axis]}" for name, (value, axis) in graph.sizes.items())
    ends += [f"FLOPs  at {sizes}", ""] if sizes else [""]
    return "\n".join([*ends, *(line.rstrip() for line in text)])


def _rows(group: Group, level: int, depth: float) -> Iterator[tuple[str, ...]]:
    whole = level >= depth or (len(group.parts) == 1 and isinstance(group.parts[0], Step))
    kind = "" if group.kind == group.name else group.kind
    yield _row("  " * level + group.name, kind, group.gives, group.parameters, group.flops)
    for part in () if whole else group.parts:
        if isinstance(part, Step):
            yield _row("  " * (level + 1) + "·", part.node.op.name, part.gives, part.parameters, part.flops)
        else:
            yield from _rows(part, level + 1, depth)


def _row(name: str, what: str, gives: str, parameters: int, flops: int) -> tuple[str, ...]:
    return name, what, gives, short_count(parameters), short_count(flops)
