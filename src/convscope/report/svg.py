"""A drawing as SVG text: one element a shape, every text escaped."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from convscope.report.drawing import Drawing, Group, Shape, Text, text_width

__all__ = ["svg_of"]

_FONTS = "DejaVu Sans, Verdana, Bitstream Vera Sans, Geneva, sans-serif"


def svg_of(drawing: Drawing) -> str:
    """Return a drawing as one SVG document.

    Texts have their width written down, so that another font than ours cannot make them run into each other.

    Example:
        >>> drawing = Drawing(10, 10, "<b>", "", (Group((Text(1, 9, "a & b"),), title="&"),))
        >>> "<title>&lt;b&gt;</title>" in svg_of(drawing), "a &amp; b" in svg_of(drawing)
        (True, True)
    """
    width, height = _number(drawing.width), _number(drawing.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" font-family="{_FONTS}" stroke-linejoin="round">',
        f"<title>{escape(drawing.title)}</title>",
        f"<desc>{escape(drawing.description)}</desc>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *(_group(group) for group in drawing.groups),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _group(group: Group) -> str:
    role = f" class={quoteattr(group.role)}" if group.role else ""
    title = f"<title>{escape(group.title)}</title>" if group.title else ""
    items = "".join(_shape(item) if isinstance(item, Shape) else _text(item) for item in group.items)
    return f"<g{role}>{title}{items}</g>"


def _shape(shape: Shape) -> str:
    points = " ".join(f"{_number(x)},{_number(y)}" for x, y in shape.points)
    attributes = [f'points="{points}"', f'fill="{shape.fill or "none"}"']
    if shape.role:
        attributes.insert(0, f"class={quoteattr(shape.role)}")
    if shape.stroke:
        attributes.append(f'stroke="{shape.stroke}" stroke-width="{_number(shape.width)}"')
    if shape.dashed:
        attributes.append('stroke-dasharray="3 2"')
    return f"<{'polygon' if shape.closed else 'polyline'} {' '.join(attributes)}/>"


def _text(text: Text) -> str:
    attributes = [
        f'x="{_number(text.x)}" y="{_number(text.y)}" font-size="{_number(text.size)}" fill="{text.colour}"',
        f'textLength="{_number(text_width(text.text, text.size, text.bold))}" lengthAdjust="spacingAndGlyphs"',
    ]
    if text.anchor != "start":
        attributes.append(f'text-anchor="{text.anchor}"')
    if text.bold:
        attributes.append('font-weight="bold"')
    element = f"<text {' '.join(attributes)}>{escape(text.text)}</text>"
    if text.full and text.full != text.text:
        return f"<g><title>{escape(text.full)}</title>{element}</g>"
    return element


def _number(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")
