"""memory_test.py PROGRAM PEAK: what the memory plan says against what a process really takes (VmHWM). Models of a real
shape with random weights are made for it, the larger one with few layers; the default model and Gemma 3, of a large
vocabulary, join when EDGELLM_MODEL and EDGELLM_GEMMA3 name them."""
import ctypes
import json
import mmap
import os
import subprocess
import sys
import tempfile

PROGRAM, PEAK = sys.argv[1:3]
LARGEST_ERROR = 0.02  # 3 % are promised
LOAD_EXTRA = 64 << 20  # bytes beside the weights while loading
SHAPES = (("llama-3.2-1b",), ("olmoe-1b-7b", "--layers", "1"))
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


def cached_bytes(path):
    """How much of a file the system holds in its page cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_WRITE,
                                             flags=mmap.MAP_PRIVATE) as view:
        pages = (ctypes.c_ubyte * (len(view) // mmap.PAGESIZE + 1))()
        at = ctypes.addressof(ctypes.c_char.from_buffer(view))
        if libc.mincore(ctypes.c_void_p(at), ctypes.c_size_t(len(view)), pages):
            raise OSError(ctypes.get_errno(), "mincore")
        return sum(page & 1 for page in pages) * mmap.PAGESIZE


def check_dropped(name, model):
    """Loading leaves little of the file in the page cache. Says "skipped" where the file system keeps it anyway."""
    size = os.path.getsize(model)
    with open(model, "rb") as file:
        os.fsync(file.fileno())  # what is not on the disk yet cannot be dropped
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if cached_bytes(model) > size / 4:
            return 1
        while file.read(1 << 20):
            pass
    before = cached_bytes(model)
    subprocess.run([PEAK, model, "64"], stdout=subprocess.DEVNULL, check=True, timeout=300)
    after = cached_bytes(model)
    check(f"{name}: page cache", after < size / 4, f"{before / 1e6:.1f} MB before, {after / 1e6:.1f} MB after the load")
    return 0


def main():
    skipped, n = 0, 0
    with tempfile.TemporaryDirectory(prefix="edgellm-memory-") as folder:
        for shape in SHAPES:
            path = os.path.join(folder, shape[0] + ".gguf")
            subprocess.run([PROGRAM, "synth", *shape[:1], path, *shape[1:]], check=True, timeout=300)
            measure(shape[0], path, 1024)
            skips = check_dropped(shape[0], path)
            os.remove(path)
            skipped += skips
            n += 3 - skips
    for name, variable in ("default model", "EDGELLM_MODEL"), ("Gemma 3", "EDGELLM_GEMMA3"):
        if variable in os.environ:
            measure(name, os.environ[variable], 4096)
            n += 2
        else:
            skipped += 2
    print(f"{n - len(failures)} passed, {len(failures)} failed, {skipped} skipped")
    return 1 if failures else 0


sys.exit(main())
