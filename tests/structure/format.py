"""format.py ROOT: all code is as clang-format leaves it. Only version 14 is asked: others format some lines differently."""
import re
import subprocess
import sys

import common

VERSION = 14


def clang_format():
    """The program of the right version, or None."""
    for name in (f"clang-format-{VERSION}", "clang-format"):
        try:
            text = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        found = re.search(r"version (\d+)", text)
        if found and int(found.group(1)) == VERSION:
            return name
    return None


if __name__ == "__main__":
    root = sys.argv[1]
    program = clang_format()
    if program is None:
        print(f"skipped: clang-format {VERSION} is not installed")
        sys.exit(77)
    paths = common.files(root)
    result = subprocess.run([program, "--dry-run", *paths], cwd=root, capture_output=True, text=True)
    wrong = dict.fromkeys(re.findall(r"^(\S+?):\d+:\d+: ", result.stderr, re.MULTILINE))
    problems = [f"{path}: is not formatted; run clang-format -i on it" for path in wrong]
    if result.returncode and not problems:
        problems = [f"clang-format: {result.stderr.strip()}"]
    common.finish(len(paths), problems)
