"""Charts as SVG: bars that a screen reader can read as a list. Geometry is in whole thousandths; no amount is a float."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

_WIDTH = 640
_HEIGHT = 160
_BASE = 132
_TOP = 10


class Bar(NamedTuple):
    """One bar: its label, its size in whatever unit, and how that is said."""

    label: str
    value: int
    said: str
    strong: bool = False


def bars(title: str, data: Sequence[Bar], *, labels_every: int = 1) -> Markup:
    """Return a bar chart; values below zero hang from the line."""
    if not data:
        return Markup()
    highest = max(0, *(bar.value for bar in data))
    lowest = min(0, *(bar.value for bar in data))
    span = max(1, highest - lowest)
    zero = _TOP + (_BASE - _TOP) * highest // span
    step = _WIDTH * 1000 // len(data)
    shapes = [_bar(bar, number, step, zero, span, labels_every) for number, bar in enumerate(data)]
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{title}"><title>{title}</title>'
        '<line class="axis" x1="0" y1="{zero}" x2="{w}" y2="{zero}"/>{shapes}</svg>'
    ).format(w=_WIDTH, h=_HEIGHT, title=title, zero=zero, shapes=Markup().join(shapes))


def _bar(bar: Bar, number: int, step: int, zero: int, span: int, labels_every: int) -> Markup:
    size = (_BASE - _TOP) * abs(bar.value) // span
    top = zero - size if bar.value >= 0 else zero
    left, width = number * step + step // 8, max(1000, step * 3 // 4)
    label = Markup()
    if number % labels_every == 0:
        label = Markup('<text class="tick" x="{x}" y="{y}">{text}</text>').format(
            x=_thousandths(left + width // 2), y=_HEIGHT - 8, text=bar.label
        )
    return Markup(
        '<rect class="{kind}" x="{x}" y="{y}" width="{w}" height="{h}"><title>{said}</title></rect>{label}'
    ).format(
        kind="bar strong" if bar.strong else "bar",
        x=_thousandths(left),
        y=top,
        w=_thousandths(width),
        h=max(size, 1 if bar.value else 0),
        said=bar.said,
        label=label,
    )


def _thousandths(number: int) -> str:
    return f"{number // 1000}.{number % 1000:03d}"
