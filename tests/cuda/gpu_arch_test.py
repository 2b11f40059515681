"""gpu_arch_test.py ROOT: which architectures of -Dgpu_arch a configured build compiles for, and what it says of others."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

OLD, UNKNOWN = "the kernels need sm_80 or later, not sm_75: left out", "the CUDA toolkit does not know sm_999: left out"
CASES = [
    # -Dgpu_arch, -Dgpu, what is said, the architectures (None: configuring fails)
    ("75, 80,999,90", "enabled", [OLD, UNKNOWN], {"80", "90"}),
    ("75,999", "auto", [OLD, UNKNOWN, "no CUDA module"], set()),
    ("75", "enabled", [OLD, "nothing is left of gpu_arch=75"], None),
    ("auto", "enabled", [], {"87", "90"}),
]
OLD_COMPILER = "the CUDA module needs nvcc 12.2 or later, not 11.8"
CASES_OF_OLD_COMPILER = [("auto", "auto", [OLD_COMPILER], set()), ("auto", "enabled", [OLD_COMPILER], None)]
# In place of NVIDIA's program: two GPUs alike, and one as the architecture that is always there.
NVIDIA_SMI = "#!/bin/sh\nprintf '9.0\\n9.0\\n8.7\\n'\n"
# The compiler, which says of itself that it is an older one.
OLD_NVCC = """#!/bin/sh
case " $* " in *" --version "*) echo 'Cuda compilation tools, release 11.8, V11.8.89' ;; *) exec {} "$@" ;; esac
"""


def run(root, archs, gpu, said, expected, old_compiler=False):
    """What went wrong in one case, or None."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as programs:
        environment = {**os.environ, "PATH": programs + os.pathsep + os.environ["PATH"]}
        stand_ins = {"nvidia-smi": NVIDIA_SMI}
        if old_compiler:
            stand_ins["nvcc"] = OLD_NVCC.format(shutil.which("nvcc"))
        for name, text in stand_ins.items():
            program = pathlib.Path(programs, name)
            program.write_text(text)
            program.chmod(0o755)
        options = ["-Dtests=false", "-Dprogram=false", "-Dexamples=false", f"-Dgpu={gpu}", f"-Dgpu_arch={archs}"]
        setup = subprocess.run(["meson", "setup", folder, root, *options], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, check=False, env=environment)
        found = None
        if setup.returncode == 0:
            commands = json.loads(pathlib.Path(folder, "compile_commands.json").read_text())
            found = set(re.findall(r"code=sm_(\w+)", " ".join(entry["command"] for entry in commands)))
    if found == expected and all(sentence in setup.stdout for sentence in said):
        return None
    compiler = ", nvcc 11.8" if old_compiler else ""
    return f"gpu_arch={archs}, gpu={gpu}{compiler}: compiles for {found}, expected {expected} and {said}:\n{setup.stdout}"


if __name__ == "__main__":
    if not shutil.which("nvcc"):  # but the build has one, that a native file names
        print("skipped: nvcc is not on the PATH\n0 passed, 0 failed, 1 skipped")
        sys.exit(77)
    results = [run(sys.argv[1], *case) for case in CASES]
    results += [run(sys.argv[1], *case, old_compiler=True) for case in CASES_OF_OLD_COMPILER]
    problems = [problem for problem in results if problem]
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"{len(results) - len(problems)} passed, {len(problems)} failed, 0 skipped")
    sys.exit(1 if problems else 0)
