"""A page as a browser's parser sees it."""

from html.parser import HTMLParser
from pathlib import Path

BLOCKS = {"td", "th", "li", "p", "dt", "dd", "br", "h1", "h2", "h3", "figcaption", "a"}
VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """Tags with their attributes, text, and whether every tag is closed by its own end.

    Attributes:
        tags: (tag, attributes) in order.
        text: all text outside of tags, whitespace collapsed.
        data: (key, exact value, printed text) of every `data` element.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.path = path
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.data: list[tuple[str, str, str]] = []
        self._open: list[str] = []
        self._pieces: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self._open, f"{path}: {self._open} not closed"
        self.text = " ".join("".join(self._pieces).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in BLOCKS:
            self._pieces.append(" ")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open and self._open[-1] == tag, f"{self.path}: </{tag}> closes {self._open[-1:]}"
        self._open.pop()

    def handle_data(self, data):
        self._pieces.append(data)
        if self._open and self._open[-1] == "data":
            attributes = self.tags[-1][1]
            self.data.append((attributes["data-key"], attributes["value"], data))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]
