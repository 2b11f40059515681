"""selftest.py: plants violations in a small tree and expects each check to find exactly them."""
import os
import tempfile

import common
import includes
import source

CASES = [
    # check, file, its text, what the complaint must say (None: there is none)
    (includes.check, "lib/base/a.h", '#include "model/spec.h"\n', "lib/model/spec.h"),
    (includes.check, "lib/quant/a.h", '#include "base/status.h"\n', None),
    (includes.check, "lib/quant/a.h", '#include "program/op.h"\n', "lib/program/op.h"),
    (includes.check, "lib/model/spec.h", '#include "program/build.h"\n', "lib/program/build.h"),
    (includes.check, "lib/program/op.h", '#include "model/spec.h"\n', "lib/model/spec.h"),
    (includes.check, "lib/program/build.cpp", '#include "model/spec.h"\n', None),
    (includes.check, "lib/backend/cpu/a.cpp", '#include "program/op.h"\n#include "backend/cpu/b.h"\n', None),
    (includes.check, "lib/backend/cpu/a.cpp", '#include "program/build.h"\n', "lib/program/build.h"),
    (includes.check, "lib/backend/cpu/a.cpp", '#include "backend/reference/r.h"\n', "lib/backend/reference/r.h"),
    (includes.check, "lib/engine/a.cpp", '  # include "backend/cpu/b.h"\n', "lib/backend/cpu/b.h"),
    (includes.check, "lib/api/a.cpp", '#include "backend/cpu/b.h"\n', "lib/backend/cpu/b.h"),
    (includes.check, "lib/api/backends.cpp", '#include "backend/cpu/b.h"\n', None),
    (includes.check, "lib/engine/a.cpp", "#include <edgellm/edgellm.h>\n", "include/edgellm/edgellm.h"),
    (includes.check, "lib/engine/a.cpp", "#include <base/status.h>\n", "with quotes"),
    (includes.check, "lib/engine/a.cpp", '#include "../base/status.h"\n', "goes up"),
    (includes.check, "lib/engine/a.cpp", '#include "nowhere.h"\n', "no file of this project"),
    (includes.check, "lib/engine/a.cpp", "#include <vector>\n", None),
    (includes.check, "lib/other/a.cpp", "", "no folder"),
    (includes.check, "examples/c/a.c", '#include "base/status.h"\n', "lib/base/status.h"),
    (includes.check, "examples/c/a.c", "#include <edgellm/edgellm.h>\n", None),
    (includes.check, "tools/a.cpp", '#include "model/spec.h"\n', None),
    (source.check, "lib/base/a.cpp", "void f() { std::abort(); }\n", "lib/base/a.cpp:1"),
    (source.check, "lib/base/a.cpp", "int a;\nvoid f() { printf (\"\"); }\n", "lib/base/a.cpp:2"),
    (source.check, "lib/base/a.cpp", "void f() { std::cout << 1; }\n", "std::cout"),
    (source.check, "lib/base/a.cpp", "void f() { assert(true); }\n", "assert("),
    (source.check, "lib/base/a.cpp", "static_assert(true);  // exit( here\nauto s = \"abort()\"; int n = 1'0;\n", None),
    (source.check, "lib/base/a.cpp", "/* exit(\nabort( */ int snprintf(int);\nauto r = R\"(exit()\")\";\n", None),
    (source.check, "lib/base/a.h", "int a;\n", "#pragma once"),
    (source.check, "tools/a.cpp", "void f() { printf(\"\"); }\n", None),
    (source.check, "tests/unit/a.cpp", "\n" * (source.LONGEST_LINES + 1), "501 lines"),
]
OTHERS = ["lib/base/status.h", "lib/model/spec.h", "lib/program/op.h", "lib/program/build.h", "lib/backend/cpu/b.h",
          "lib/backend/reference/r.h", "include/edgellm/edgellm.h"]


def write(root, path, text):
    os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
    with open(os.path.join(root, path), "w", encoding="utf-8") as file:
        file.write(text)


def run(number, check, path, text, expected):
    """What went wrong in one case, or None."""
    with tempfile.TemporaryDirectory() as root:
        for other in OTHERS:
            write(root, other, "")
        write(root, path, text)
        problems = check(root, path)
    good = not problems if expected is None else len(problems) == 1 and expected in problems[0]
    return None if good else f"case {number}: {path} with {text[:40]!r} gave {problems}, expected {expected}"


if __name__ == "__main__":
    outcomes = [run(number, *case) for number, case in enumerate(CASES)]
    common.finish(len(CASES), [outcome for outcome in outcomes if outcome])
