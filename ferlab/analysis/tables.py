"""Numbers to the words and tables of a page, in Markdown or LaTeX.

By hand, as tabulate has neither captions nor booktabs' rules, and would be one more package.

Table("Recall in %", ["Model", "Fear"], [["ConvNet", percent(group.values("accuracy"))]]).markdown()
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferlab.errors import UserError

MINUS = "\N{MINUS SIGN}"
LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "→": r"$\to$",
    "×": r"$\times$",
    MINUS: "$-$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
}


class Table(NamedTuple):
    """A caption, a header and rows of ready text; the first column is to the left, numbers to the right."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """As GitHub shows it, with the caption above."""
        lines = [self.header, [":--", *["--:"] * (len(self.header) - 1)], *self.rows]
        return "\n".join([self.caption, "", *(f"| {' | '.join(line)} |" for line in lines)])

    def latex(self) -> str:
        """A table environment with booktabs' rules."""
        head, *rows = (" & ".join(_latex(cell) for cell in row) + r" \\" for row in (self.header, *self.rows))
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{_latex(self.caption)}}}",
                rf"\begin{{tabular}}{{l{'r' * (len(self.header) - 1)}}}",
                r"\toprule",
                head,
                r"\midrule",
                *rows,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
            ]
        )


def between(path: Path, marks: tuple[str, str], new: str) -> str:
    """The text of the file at `path` with `new` between its two marks. UserError where one is missing."""
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; save it as such.") from None
    if [text.count(mark) for mark in marks] != [1, 1] or text.index(marks[0]) > text.index(marks[1]):
        raise UserError(f"{path} must have {' and '.join(marks)} once each: numbers go between them.")
    return f"{text.split(marks[0])[0]}{marks[0]}\n{new}\n{marks[1]}{text.split(marks[1])[1]}"


def percent(values: np.ndarray, interval: tuple[float, float] | None = None, *, digits: int = 2) -> str:
    """Shares (S,) of the seeds as "mean ± deviation [interval]" in per cent; one seed has no deviation."""
    text = f"{100 * np.mean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ± {100 * np.std(values, ddof=1):.{digits}f}"
    return text + (f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else "")


def points(difference: float, interval: Sequence[float] = ()) -> str:
    """A difference of two shares in percentage points, with its interval where one is given."""
    text = f"{round(100 * difference, 1) + 0:+.1f}"
    if interval:
        text += f" [{', '.join(f'{100 * value:.1f}' for value in interval)}]"
    return text.replace("-", MINUS)


def p_text(p: float | None) -> str:
    """A p-value, or nothing."""
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def number(value: float | None, *, digits: int = 3) -> str:
    """A quantity with so many significant digits, or nothing where it is not known."""
    if value is None:
        return ""
    size = max(0, digits - 1 - int(np.floor(np.log10(abs(value) or 1))))
    return f"{value:,.{size}f}"


def _latex(text: str) -> str:
    return re.sub(".", lambda match: LATEX.get(match[0], match[0]), text)
