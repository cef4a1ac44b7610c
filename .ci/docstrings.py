"""Find docstrings that are fragments: they begin with a word that makes sense only after the name above them.

Usage: python .ci/docstrings.py PATH...

Docstrings are those of modules, classes and functions, and the strings below fields and constants.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

FRAGMENT = re.compile(
    r"(Of|That|As|Which|Who|Whose|Where|By|With|Without|In|Within|To|From|Than|But|And|Or|Else|After|Before|Above|Below|Beside|"
    r"Behind|At|On|For|So|Such|Like|See|Ditto|The same)\b"
)


def find_docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every string that stands as a statement of its own."""
    for node in ast.walk(tree):
        for statement in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            constant = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                yield statement.lineno, constant.value


def main(paths: list[str]) -> int:
    """Print each fragment below the paths, and return how many there are, 1 at most."""
    files = [file for path in map(Path, paths) for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))]
    faults = [
        f"{file}:{line}: {text.strip().splitlines()[0]!r} is a fragment; write a sentence that stands alone"
        for file in files
        for line, text in find_docstrings(ast.parse(file.read_text(encoding="utf-8")))
        if FRAGMENT.match(text.strip())
    ]
    print(*faults, sep="\n", end="\n" if faults else "")
    return min(len(faults), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
