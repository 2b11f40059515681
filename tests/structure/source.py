"""source.py ROOT: files stay small, and nothing in the library prints, aborts or exits."""
import re
import sys

import common

LONGEST_LINES = 500
LONGEST_HEADER_LINES = 1000  # of the interface, with its whole documentation
WORDS = re.compile(
    r"\b(abort|exit|_exit|_Exit|quick_exit|terminate|assert|printf|fprintf|vprintf|vfprintf|puts|fputs|putchar|perror)"
    r"\s*\(|\bstd::(cout|cerr|clog)\b|\bfmt::print(ln)?\b")


def check(root, path):
    """What is wrong with one file."""
    text = common.read(root, path)
    problems = []
    lines = text.count("\n")
    longest = LONGEST_HEADER_LINES if path.startswith("include/") else LONGEST_LINES
    if lines > longest:
        problems.append(f"{path}: has {lines} lines, more than {longest}")
    if path.startswith(("lib/", "include/", "cuda/")):
        for number, line in enumerate(common.code_only(text).split("\n"), 1):
            match = WORDS.search(line)
            if match:
                problems.append(f"{path}:{number}: {match.group()} prints or ends the process; return or throw a status")
    if path.startswith("lib/") and path.endswith(".h") and "#pragma once" not in text:
        problems.append(f"{path}: lacks #pragma once")
    return problems


if __name__ == "__main__":
    source = sys.argv[1]
    paths = common.files(source, endings=common.CODE + (".py", ".rs", ".sh"))
    common.finish(len(paths), [problem for path in paths for problem in check(source, path)])
