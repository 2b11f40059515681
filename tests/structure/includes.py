"""includes.py ROOT: who may include whom. The rule is in CONTRIBUTING.md; ALLOWED below is that rule as data."""
import os
import re
import sys

import common

# What a file may include is told by the first prefix of its path that is listed; a trailing slash names a folder.
OP, TURNS, BACKEND = "lib/program/op.h", "lib/program/key_turns.h", "lib/backend/backend.h"
BUFFERS, ROTATION = "lib/backend/buffers.h", "lib/backend/host/rotation.h"
LOW = ["lib/base/", "lib/quant/", OP, TURNS]
CONCRETE_BACKENDS = ["lib/backend/reference/", "lib/backend/cpu/"]
ENGINE = LOW + [BACKEND, "lib/model/", "lib/text/", "lib/sample/", "lib/cache/", "lib/program/", "lib/engine/"]
ALLOWED = [
    ("lib/base/", ["lib/base/"]),
    ("lib/quant/", ["lib/base/", "lib/quant/"]),
    (OP, ["lib/base/", "lib/quant/"]),
    (TURNS, [OP]),
    (BACKEND, LOW),
    (BUFFERS, LOW),
    ("lib/backend/host/", LOW + [BACKEND, "lib/backend/host/"]),
    ("lib/backend/reference/", LOW + [BACKEND, BUFFERS, "lib/backend/host/", "lib/backend/reference/"]),
    ("lib/backend/cuda/", LOW + [BACKEND, "lib/backend/cuda/"]),
    ("lib/backend/cpu/", LOW + [BACKEND, "lib/backend/host/", "lib/backend/cpu/"]),
    ("cuda/", LOW + [BUFFERS, ROTATION, "lib/backend/cuda/", "cuda/"]),
    ("lib/model/", LOW + ["lib/model/"]),
    ("lib/text/", ["lib/base/", "lib/text/"]),
    ("lib/sample/", ["lib/base/", "lib/text/", "lib/sample/"]),
    ("lib/cache/", LOW + ["lib/cache/"]),
    ("lib/program/", LOW + ["lib/model/", "lib/program/"]),
    ("lib/engine/", ENGINE),
    ("lib/api/backends.cpp", ENGINE + CONCRETE_BACKENDS + ["lib/api/"]),  # registers the backends
    ("lib/api/", ENGINE + ["lib/api/", "include/"]),
    ("include/", ["include/"]),
    ("examples/", ["include/"]),
    ("bindings/", ["include/", "bindings/"]),
    ("tools/", ["include/", "tools/"] + ENGINE),
]
GENERATED = ["backend/cuda/build_id.h"]
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.MULTILINE)


def resolve(root, path, name):
    """The file of this project that an include names, or None."""
    folders = ["include", "lib", "cuda"]
    if path.startswith(("tools/", "bindings/", "examples/", "cuda/")):
        folders.append(os.path.dirname(path))
    for folder in folders:
        candidate = os.path.normpath(os.path.join(folder, name))
        if os.path.isfile(os.path.join(root, candidate)):
            return candidate
    return None


def check(root, path):
    """What is wrong with the includes of one file."""
    rule = next((allowed for prefix, allowed in ALLOWED if path.startswith(prefix)), None)
    if rule is None:
        return [f"{path}: belongs to no folder that the rule of includes knows"]
    problems = []
    for quote, name in INCLUDE.findall(common.read(root, path)):
        target = resolve(root, path, name)
        if ".." in name.split("/"):
            problems.append(f"{path}: includes {name}, a path that goes up; name it from lib/ or include/")
        elif target is None and quote == '"' and name not in GENERATED:
            problems.append(f'{path}: includes "{name}", which is no file of this project')
        elif target is not None and target.startswith("lib/") and quote == "<":
            problems.append(f"{path}: includes <{name}>; files of the library are included with quotes")
        elif target is not None and not any(target.startswith(prefix) for prefix in rule):
            problems.append(f"{path}: includes {target}, which lies outside {', '.join(rule)}")
    return problems


if __name__ == "__main__":
    source = sys.argv[1]
    paths = common.files(source, ("include", "lib", "cuda", "bindings", "tools", "examples"))
    common.finish(len(paths), [problem for path in paths for problem in check(source, path)])
