"""What the tests of the program share: a scratch folder, checks of status and output, and the end of a test program."""
import hashlib
import json
import os
import struct
import sys
import tempfile
import unittest

from program import ARCH, TINY, read_npy, rows, run

FOLDER = tempfile.TemporaryDirectory(prefix="edgellm-cli-")
SURE_NAT = 0.35  # a lead that fast kernels must not turn around


def scratch(name, content=None):
    path = os.path.join(FOLDER.name, name)
    if content is not None:
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
    return path


def patient_model():
    """The small model with room for an answer that does not end by itself soon."""
    with open(TINY, "rb") as file:
        data = file.read()
    key = b"llama.context_length" + struct.pack("<I", 4)
    at = data.index(key) + len(key)
    return scratch("patient.gguf", data[:at] + struct.pack("<I", 100000) + data[at + 4:])


def with_vocabulary(name):
    """A recorded model, all of which have 128 tokens and no vocabulary, with one of single characters."""
    def text(value):
        return struct.pack("<Q", len(value)) + value

    def array(key, kind, values):
        return text(key) + struct.pack("<IIQ", 9, kind, len(values)) + b"".join(values)

    with open(os.path.join(ARCH, name + ".gguf"), "rb") as file:
        data = file.read()
    tokens = [b"<unk>", b"<s>", b"</s>", b"\n", "\u2581".encode(), *(bytes([c]) for c in range(33, 127))]
    tokens += [b"<%d>" % i for i in range(len(tokens), 128)]
    old = text(b"tokenizer.ggml.model") + struct.pack("<I", 8) + text(b"none")
    new = text(b"tokenizer.ggml.model") + struct.pack("<I", 8) + text(b"llama")
    new += array(b"tokenizer.ggml.tokens", 8, [text(token) for token in tokens])
    new += array(b"tokenizer.ggml.scores", 6, [struct.pack("<f", 0)] * 128)
    new += array(b"tokenizer.ggml.token_type", 5, [struct.pack("<i", {0: 2, 1: 3, 2: 3}.get(i, 1)) for i in range(128)])
    name_and_size = len(text(b"padding") + struct.pack("<I", 8) + text(b""))
    new += text(b"padding") + struct.pack("<I", 8) + text(bytes((len(old) - len(new) - name_and_size) % 32))
    keys = struct.unpack_from("<Q", data, 16)[0] + 4
    return scratch(name + "-text.gguf", data[:16] + struct.pack("<Q", keys) + data[24:].replace(old, new))


class Case(unittest.TestCase):
    def ok(self, *args, **more):
        result = run(*args, **more)
        self.assertEqual(result.status, 0, f"{args}: {result.err}")
        return result

    def fails(self, status, sentence, *args, **more):
        """Ends with the status, says the sentence on standard error and nothing on standard output."""
        result = run(*args, **more)
        self.assertEqual(result.status, status, f"{args}: {result.err}")
        self.assertIn(sentence, result.err)
        if result.out is not None:
            self.assertEqual(result.out, b"")
        return result

    def tokens(self, text, *options):
        return json.loads(self.ok("tokenize", "-m", TINY, *options, stdin=text).text)

    def logits(self, model, ids, *options):
        path = scratch("logits.npy")
        self.ok("logits", "-m", model, "--tokens", ",".join(map(str, ids)), "-o", path, *options)
        return read_npy(path)


    def picks_recorded(self, model, recorded, *options):
        """After a recorded prompt the likeliest tokens are the recorded ones, wherever those led by enough."""
        tokens, greedy = recorded["tokens"], recorded["greedy"]
        logits = rows(*self.logits(model, tokens + greedy[:-1], *options))
        picked = [row.index(max(row)) for row in logits[len(tokens) - 1:]]
        sure = [i for i, lead in enumerate(recorded["margin"]) if lead > SURE_NAT]
        self.assertGreater(len(sure), 8)
        self.assertEqual([picked[i] for i in sure], [greedy[i] for i in sure])


def why_skip(variable, sha256):
    """Why results of one file cannot be compared with the file that the environment names; None if they can."""
    path = os.environ.get(variable)
    if not path:
        return f"{variable} is not set"
    if not os.path.isfile(path):
        return f"{variable}={path} is no file"
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return None if digest.hexdigest() == sha256 else f"{path} is not the file that the results are of"


def run_tests(module, why_not=None):
    if why_not:
        print(f"skipped: {why_not}")
        sys.exit(77)
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    failed, skipped = len(result.failures) + len(result.errors), len(result.skipped)
    print(f"{result.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped", flush=True)
    sys.exit(1 if failed else 0)
