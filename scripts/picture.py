"""Draws bins/rpt-run/picture.svg: a small suite in a terminal, while it runs and at its end.

Nothing is drawn by hand: the bytes that the pipeline shows on a terminal go through a terminal
emulator, and its screen becomes the picture. Light or dark is the reader's choice.
"""

import html
import os
import re
import sys
import tempfile
from pathlib import Path

import pyte

from terminal import frames

COLUMNS, ROWS = 84, 40
COMMAND = "rpt-collect tests | rpt-order | rpt-run"
PICTURE = Path(__file__).parent.parent / "bins/rpt-run/picture.svg"

SUITE = {
    "pytest.ini": "[pytest]\n",
    "tests/test_basket.py": """
import time, pytest

@pytest.mark.parametrize("number", range(48))
def test_item(number):
    time.sleep(0.05)

def test_total():
    prices = [3, 4]
    assert sum(prices) == 8
""",
    "tests/test_delivery.py": """
import time, pytest

def test_waits_for_the_courier():
    time.sleep(3)

@pytest.mark.skip(reason="no drone")
def test_by_air(): pass

@pytest.mark.xfail(reason="known")
def test_on_sunday(): assert False
""",
}

TAG = re.compile("<[^>]*>")

# A character cell, and what the named colours are on light and on dark.
WIDTH, HEIGHT = 8.4, 18
STYLE = """
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace }
text { white-space: pre; fill: #24292f }
.page { fill: #ffffff; stroke: #d0d7de } .red { fill: #cf222e } .green { fill: #1a7f37 } .brown { fill: #9a6700 }
.bold { font-weight: bold } .dim { fill-opacity: 0.45 } .note { fill: #6e7781 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .page { fill: #0d1117; stroke: #30363d } .red { fill: #ff7b72 } .green { fill: #3fb950 }
  .brown { fill: #d29922 } .note { fill: #8b949e }
}
"""


class Screen(pyte.Screen):
    """pyte's screen, which knows no dim text: blinking text, which nobody shows, stands for it."""

    def select_graphic_rendition(self, *attributes: int, **more: bool) -> None:
        super().select_graphic_rendition(*[5 if number == 2 else number for number in attributes], **more)


def screens(command: str) -> tuple[list[str], list[str]]:
    """The lines of the terminal while tests run, when one has failed and one is named, and at the end."""
    screen = Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    moments: list[list[str]] = []
    for shown in frames(COLUMNS, ROWS, ["bash", "-c", command]):
        stream.feed(shown)
        text = "\n".join(screen.display)
        if "FAILED" in text and " s  tests/" in text and "FAILURES" not in text:
            moments.append(drawn(screen))
    return moments[len(moments) // 2] if moments else [], drawn(screen)


def drawn(screen: pyte.Screen) -> list[str]:
    """The lines as SVG spans, without the empty ones at the end."""
    lines = []
    for row in range(screen.lines):
        spans, cells = "", [screen.buffer[row][column] for column in range(screen.columns)]
        while cells and cells[-1].data == " ":
            cells.pop()
        while cells:
            looks = look(cells[0])
            end = next((index for index, cell in enumerate(cells) if look(cell) != looks), len(cells))
            text = html.escape("".join(cell.data for cell in cells[:end]))
            spans += f'<tspan class="{looks}">{text}</tspan>' if looks else text
            cells = cells[end:]
        lines.append(spans)
    while lines and not lines[-1]:
        lines.pop()
    return lines


def look(cell: pyte.screens.Char) -> str:
    classes = [cell.fg] if cell.fg != "default" else []
    classes += ["bold"] if cell.bold else []
    classes += ["dim"] if cell.blink else []
    return " ".join(classes)


def svg(parts: list[tuple[str, list[str]]]) -> str:
    texts, row = [], 1
    for note, lines in parts:
        for line in [f'<tspan class="note">{html.escape(note)}</tspan>', *lines]:
            if line:
                # Columns line up whatever font the reader has.
                length = round(len(html.unescape(TAG.sub("", line))) * WIDTH)
                place = f'x="16" y="{row * HEIGHT + 8}" textLength="{length}" lengthAdjust="spacingAndGlyphs"'
                texts.append(f'<text {place} xml:space="preserve">{line}</text>')
            row += 1
        row += 1
    width, height = round(COLUMNS * WIDTH) + 32, row * HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{html.escape(COMMAND)} on a terminal">\n<style>{STYLE}</style>\n'
        f'<rect class="page" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6"/>\n'
        + "\n".join(texts)
        + "\n</svg>\n"
    )


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in SUITE.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        os.chdir(folder)
        # A first run, so that the second knows something.
        os.system(f"{COMMAND} >run.log 2>&1")
        running, over = screens(COMMAND)
    if not running:
        print("scripts/picture: no moment with a failure and a named test was seen; try again", file=sys.stderr)
        return 1
    PICTURE.write_text(svg([(f"$ {COMMAND}", running), ("… and at its end", over)]))
    print(PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
