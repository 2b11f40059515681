"""symbols.py ROOT LIBRARY: the shared library exports exactly the functions that its C header declares."""
import os
import re
import subprocess
import sys

import common


def declared(root):
    """The functions of edgellm.h: every edgellm_name( outside comments that is no type of a callback."""
    text = common.code_only(common.read(root, os.path.join("include", "edgellm", "edgellm.h")))
    text = re.sub(r"^[ \t]*#(?:.*\\\n)*.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\bstatic\s+inline\b[^{;]*\{[^}]*\}", "", text)
    return set(re.findall(r"\b(edgellm_\w+)\s*\(", text))


def exported(library):
    """The dynamic symbols that the library defines."""
    lines = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].split("@")[0] for line in lines.splitlines() if " A " not in line}


if __name__ == "__main__":
    header, symbols = declared(sys.argv[1]), exported(sys.argv[2])
    problems = [f"{name}: is exported and not declared in edgellm.h" for name in sorted(symbols - header)]
    problems += [f"{name}: is declared in edgellm.h and not exported" for name in sorted(header - symbols)]
    problems += [f"{name}: does not begin with edgellm_" for name in sorted(header) if not name.startswith("edgellm_")]
    common.finish(len(header | symbols), problems)
