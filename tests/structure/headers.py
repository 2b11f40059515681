"""headers.py ROOT CC... -- CXX...: each public header compiles alone: in C99 and C++20 without any warning."""
import os
import subprocess
import sys

import common

STRICT = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]


def compile_alone(root, compiler, language, standard, header):
    """The compiler's complaint about a file that holds nothing but the include, or None."""
    command = compiler + [f"-std={standard}", *STRICT, "-I", os.path.join(root, "include"), "-x", language, "-"]
    result = subprocess.run(command, input=f"#include <{header}>\n", capture_output=True, text=True)
    return f"{header}: does not compile alone as {standard}:\n{result.stderr}" if result.returncode else None


if __name__ == "__main__":
    source, middle = sys.argv[1], sys.argv.index("--")
    cc, cxx = sys.argv[2:middle], sys.argv[middle + 1:]
    headers = [path[len("include/"):] for path in common.files(source, ("include",))]
    complaints = []
    for name in headers:
        if name.endswith(".h"):
            complaints.append(compile_alone(source, cc, "c", "c99", name))
        complaints.append(compile_alone(source, cxx, "c++", "c++20", name))
    common.finish(len(headers), [complaint for complaint in complaints if complaint])
