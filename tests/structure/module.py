"""module.py MODULE: the CUDA module exports one function, and needs no library of the CUDA toolkit to be loaded."""
import re
import subprocess
import sys

import common
import symbols

if __name__ == "__main__":
    exported = symbols.exported(sys.argv[1])
    problems = [f"{name}: is exported" for name in sorted(exported - {"edgellm_cuda_module"})]
    problems += [] if "edgellm_cuda_module" in exported else ["edgellm_cuda_module: is not exported"]
    dynamic = subprocess.run(["readelf", "-d", sys.argv[1]], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    problems += [f"{name}: is needed" for name in needed if re.match(r"lib(cu|nv)", name)]
    common.finish(len(exported | set(needed)), problems)
