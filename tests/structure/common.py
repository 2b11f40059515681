"""What the structure tests share: which files there are, C++ without comments and strings, and the closing line."""
import os
import re
import sys

CODE = (".c", ".h", ".cpp", ".hpp", ".cu", ".cuh")
FOLDERS = ("include", "lib", "cuda", "bindings", "tools", "examples", "tests", "script")


def files(root, folders=FOLDERS, endings=CODE):
    """Paths of code, relative to the root, sorted."""
    found = []
    for folder in folders:
        for at, inner, names in os.walk(os.path.join(root, folder)):
            inner[:] = [name for name in inner if not name.startswith(".") and name != "__pycache__"]
            found += [os.path.relpath(os.path.join(at, name), root) for name in names if name.endswith(endings)]
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
        return file.read()


TOKEN = re.compile(
    r'R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"'  # raw string
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'"  # character; not the separator of 1'000
    r"|//[^\n]*|/\*.*?\*/",
    re.DOTALL)


def code_only(text):
    """The text with comments and literals blanked; lines keep their numbers."""
    return TOKEN.sub(lambda match: '""' + "\n" * match.group().count("\n"), text)


def finish(checked, problems):
    """Prints what is wrong and the totals; each file checked counts as one."""
    for problem in problems:
        print(problem)
    broken = len({problem.split(":", 1)[0] for problem in problems})
    if not checked:
        print("nothing to check was found")
        broken = 1
    print(f"{max(checked - broken, 0)} passed, {broken} failed, 0 skipped")
    sys.exit(1 if broken else 0)
