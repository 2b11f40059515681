"""memory_test.py PROGRAM PEAK: what the memory plan says against what a process really takes (VmHWM). Models of a real
shape with few layers and random weights are made for it; the default model joins when EDGELLM_MODEL names it."""
import json
import os
import subprocess
import sys
import tempfile

PROGRAM, PEAK = sys.argv[1:3]
LARGEST_ERROR = 0.03
LOAD_EXTRA = 64 << 20  # bytes beside the weights while loading
SHAPES = (("llama-3.2-1b", "--layers", "2"), ("olmoe-1b-7b", "--layers", "1"))
failures = []


def check(name, good, why):
    print(f"{'passed' if good else 'FAILED'} {name}: {why}")
    if not good:
        failures.append(name)


def measure(name, model, context):
    done = subprocess.run([PEAK, model, str(context)], capture_output=True, text=True, timeout=300)
    if done.returncode:
        return check(name, False, done.stderr)
    m = json.loads(done.stdout)
    error = (m["planned"] - m["used"]) / m["used"]
    check(f"{name}: peak", abs(error) < LARGEST_ERROR,
          f"planned {m['planned'] / 1e6:.1f} MB, measured {m['used'] / 1e6:.1f} MB, {error:+.2%}")
    check(f"{name}: load", m["loaded"] <= m["weights"] + LOAD_EXTRA,
          f"weights {m['weights'] / 1e6:.1f} MB, planned {m['planned_load'] / 1e6:.1f} MB, "
          f"measured {m['loaded'] / 1e6:.1f} MB")


def main():
    skipped, n = 0, 0
    with tempfile.TemporaryDirectory(prefix="edgellm-memory-") as folder:
        for shape in SHAPES:
            path = os.path.join(folder, shape[0] + ".gguf")
            subprocess.run([PROGRAM, "synth", *shape[:1], path, *shape[1:]], check=True, timeout=300)
            measure(shape[0], path, 1024)
            os.remove(path)
            n += 2
    if "EDGELLM_MODEL" in os.environ:
        measure("default model", os.environ["EDGELLM_MODEL"], 4096)
        n += 2
    else:
        skipped = 2
    print(f"{n - len(failures)} passed, {len(failures)} failed, {skipped} skipped")
    return 1 if failures else 0


sys.exit(main())
