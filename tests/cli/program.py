"""Running the program under test, and reading what it writes."""
import array
import ast
import os
import struct
import subprocess
import sys

PROGRAM, TINY, ARCH = (sys.argv + [None] * 4)[1:4]  # the program, a small model with a vocabulary, tests/golden/arch
LLAMA = os.path.join(ARCH or "", "llama.gguf")      # has no vocabulary
REFERENCE = ("--kernels", "reference", "--kv", "f32")


class Result:
    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr.decode(errors="replace")

    @property
    def text(self):
        return self.out.decode()


def run(*args, stdin=b"", **more):
    """Runs the program to its end; a status below 0 is a signal."""
    if isinstance(stdin, str):
        stdin = stdin.encode()
    more.setdefault("stdout", subprocess.PIPE)
    return Result(subprocess.run([PROGRAM, *map(str, args)], input=stdin, stderr=subprocess.PIPE, timeout=120, **more))


def start(*args, **more):
    """Starts the program, with its output in a pipe."""
    more.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen([PROGRAM, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def read_npy(path):
    """-> (shape, values) of a float32 array file."""
    with open(path, "rb") as file:
        data = file.read()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    end = 10 + struct.unpack("<H", data[8:10])[0]
    assert end % 64 == 0
    header = ast.literal_eval(data[10:end].decode())
    assert header["descr"] == "<f4" and not header["fortran_order"]
    values = array.array("f")
    values.frombytes(data[end:])
    return header["shape"], values


def read_ints(path):
    with open(path, "rb") as file:
        data = file.read()
    end = 10 + struct.unpack("<H", data[8:10])[0]
    kind = ast.literal_eval(data[10:end].decode())["descr"]
    values = array.array({"<i4": "i", "<i8": "q"}[kind])
    values.frombytes(data[end:])
    return list(values)


def distance(got, wanted):
    """Norm of the difference over norm of what was wanted."""
    difference = sum((x - y) ** 2 for x, y in zip(got, wanted))
    return (difference / sum(y * y for y in wanted)) ** 0.5


def rows(shape, values):
    width = shape[-1]
    return [values[i:i + width] for i in range(0, len(values), width)]
