"""One HTML file that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Page"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2733; --faint: #51606d; --ground: #f5f7f9; --paper: #fff;
  --rule: #dde3e8; --link: #1f5f9e; --code: #f2f5f7; --blue: #2f6fb0; --teal: #1f9e89; --orange: #d9622b;
  --violet: #7a4fb5; --gold: #a67c00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e8ed; --faint: #9fabb6; --ground: #12181e; --paper: #1b232b;
  --rule: #34404b; --link: #7db4ea; --code: #232d36; --blue: #6aa5e0; --teal: #43bfa8; --orange: #ee8a57;
  --violet: #b79aec; --gold: #d9b540; } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 0 0 8px; }
h3 { font-size: 1.05rem; margin: 18px 0 6px; }
section { background: var(--paper); border: 1px solid var(--rule); border-radius: 8px; padding: 20px 24px;
  margin: 20px 0; }
nav a { margin-right: 14px; white-space: nowrap; }
a { color: var(--link); }
img { display: block; max-width: 100%; height: auto; margin: 12px auto; }
figure { margin: 0; overflow-x: auto; }
figcaption { color: var(--faint); font-size: 0.9rem; }
pre { background: var(--code); border-radius: 6px; padding: 12px 14px; white-space: pre-wrap;
  font-size: 0.85rem; }
table { border-collapse: collapse; margin: 10px 0; }
th, td { text-align: right; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; }
.lead { color: var(--faint); }
""".strip()


@dataclass
class Page:
    """A report under construction; every text put into it is escaped, but for `markup`.

    Args:
        style: further rules of CSS.
    Example:
        >>> page = Page("A <report>", "what it is about")
        >>> page.section("numbers", "Numbers")
        >>> page.table(("model", "accuracy"), [("<b>", "90 %")])
        >>> text = page.render()
        >>> "<script" in text, "A &lt;report&gt;" in text, "&lt;b&gt;" in text
        (False, True, True)
    """

    title: str
    lead: str = ""
    style: str = ""
    _sections: list[tuple[str, str, list[str]]] = field(default_factory=list, repr=False)

    def section(self, anchor: str, heading: str) -> None:
        """Begin a section; what is added next belongs to it."""
        self._sections.append((anchor, heading, []))

    def _add(self, block: str) -> None:
        self._sections[-1][2].append(block)

    def markup(self, block: str) -> None:
        """Add HTML whose texts are escaped already."""
        self._add(block)

    def heading(self, text: str) -> None:
        """Add a heading within the section."""
        self._add(f"<h3>{html.escape(text)}</h3>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph."""
        self._add(f"<p>{html.escape(text)}</p>")

    def preformatted(self, text: str) -> None:
        """Add text whose columns must stay aligned."""
        self._add(f"<pre>{html.escape(text)}</pre>")

    def picture(self, png: bytes, alt: str, caption: str = "") -> None:
        """Add a PNG picture, with a text for those who cannot see it."""
        data = base64.b64encode(png).decode("ascii")
        below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
        self._add(
            f'<figure><img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">{below}</figure>'
        )

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table; the first column is the row's name."""
        cells = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
        )
        self._add(f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>")

    def render(self) -> str:
        """Return the whole file."""
        links = " ".join(
            f'<a href="#{html.escape(anchor)}">{html.escape(heading)}</a>'
            for anchor, heading, _ in self._sections
        )
        sections = "".join(
            f'<section id="{html.escape(anchor)}"><h2>{html.escape(heading)}</h2>{"".join(blocks)}</section>\n'
            for anchor, heading, blocks in self._sections
        )
        policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{html.escape(self.title)}</title>\n<style>{_STYLE}{self.style}</style></head>\n"
            f'<body><main><h1>{html.escape(self.title)}</h1><p class="lead">{html.escape(self.lead)}</p>\n'
            f"<nav>{links}</nav>\n{sections}</main></body></html>\n"
        )
