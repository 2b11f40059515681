"""install.py ROOT BUILD CC...: what `meson install` lays down is enough to compile, link and start the C example."""
import glob
import os
import subprocess
import sys
import tempfile

import common


def run(command, **options):
    """The output of a command; its error text becomes this test's failure."""
    result = subprocess.run(command, capture_output=True, text=True, **options)
    if result.returncode:
        common.finish(1, [f"install: {' '.join(command)} failed:\n{result.stdout}{result.stderr}"])
    return result.stdout


def main(root, build, cc):
    """Installs into a scratch folder and builds against it as a stranger would: by pkg-config alone."""
    with tempfile.TemporaryDirectory() as scratch:
        run(["meson", "install", "-C", build, "--no-rebuild", "--destdir", scratch])
        found = glob.glob(os.path.join(scratch, "**", "edgellm.pc"), recursive=True)
        if len(found) != 1:
            common.finish(1, [f"install: expected one edgellm.pc, found {found}"])
        environment = dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(found[0]), PKG_CONFIG_SYSROOT_DIR=scratch)
        flags = run(["pkg-config", "--cflags", "--libs", "edgellm"], env=environment).split()
        program = os.path.join(scratch, "generate")
        source = os.path.join(root, "examples", "c", "generate.c")
        run(cc + ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", source, "-o", program] + flags)
        library = os.path.dirname(glob.glob(os.path.join(scratch, "**", "libedgellm.so"), recursive=True)[0])
        started = subprocess.run([program], env=dict(os.environ, LD_LIBRARY_PATH=library), capture_output=True, text=True)
        problems = []
        if started.returncode <= 0 or not started.stderr:  # without arguments it says how it is used and fails
            problems = [f"install: the installed example ended with {started.returncode}: {started.stderr}"]
        common.finish(1, problems)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
