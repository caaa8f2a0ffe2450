"""A frame with axes to draw the pictures of the policy pages in: plain SVG, so that a picture is text to compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

BLUE, ORANGE, GREEN, RED, GREY = "#1f6feb", "#d4761a", "#2a8c4a", "#c03535", "#8a8f98"


class Canvas:
    """A frame with two axes. `x` and `y` are the ranges of what is drawn; everything is given in their units."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], width: int = 720, height: int = 260) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height
        self.parts: list[str] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        left, right, top, bottom = 60, self.width - 20, 24, self.height - 40
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return left + across * (right - left), bottom - up * (bottom - top)

    def line(self, points: Iterable[tuple[float, float]], colour: str, *, dash: str = "") -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in points))
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>')

    def bar(self, x1: float, x2: float, y1: float, y2: float, colour: str, *, opacity: float = 1.0) -> None:
        (left, bottom), (right, top) = self.at(x1, y1), self.at(x2, y2)
        self.parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(right - left, 1.5):.1f}" '
            f'height="{max(bottom - top, 1.5):.1f}" fill="{colour}" fill-opacity="{opacity}" rx="2"/>'
        )

    def dot(self, x: float, y: float, colour: str) -> None:
        cx, cy = self.at(x, y)
        self.parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3.5" fill="{colour}"/>')

    def text(self, x: float, y: float, words: str, colour: str = "#24292f", *, anchor: str = "start") -> None:
        left, top = self.at(x, y)
        self.parts.append(f'<text x="{left:.1f}" y="{top:.1f}" fill="{colour}" text-anchor="{anchor}">{words}</text>')

    def svg(
        self, title: str, across: str, up: str = "", *, ticks: Sequence[float] = (), rows: Sequence[float] = ()
    ) -> str:
        (left, bottom), (right, top) = self.at(self.x[0], self.y[0]), self.at(self.x[1], self.y[1])
        axis = [f'<path d="M{left:.1f},{top:.1f} V{bottom:.1f} H{right:.1f}" fill="none" stroke="{GREY}"/>']
        for tick in ticks:
            x, y = self.at(tick, self.y[0])
            axis.append(f'<text x="{x:.1f}" y="{y + 15:.1f}" fill="{GREY}" text-anchor="middle">{tick:g}</text>')
        for row in rows:
            x, y = self.at(self.x[0], row)
            axis.append(f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" fill="{GREY}" text-anchor="end">{row:g}</text>')
        axis.append(f'<text x="{right:.1f}" y="{bottom + 32:.1f}" fill="{GREY}" text-anchor="end">{across}</text>')
        axis.append(f'<text x="{left:.1f}" y="{top - 10:.1f}" fill="{GREY}">{up}</text>')
        body = "\n".join([*axis, *self.parts])
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'font-family="sans-serif" font-size="12" role="img"><title>{title}</title>\n'
            f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
        )
