"""model_test.py PROGRAM: the default model gives what its original implementation gave.

Needs the model in EDGELLM_MODEL; skipped without it. prompts.json: conversations and their rendering, or raw text.
greedy.json: for each the prompt's tokens, the likeliest tokens that follow and by how many nat each led. logits.json,
excerpt.*: see reduce.py.
"""
import json
import math
import os
import statistics
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "cli"))
from case import SURE_NAT, Case, run_tests, scratch, why_skip  # noqa: E402
from program import REFERENCE, distance, rows, run  # noqa: E402

MODEL = os.environ.get("EDGELLM_MODEL")
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
END = 2  # the token that ends a turn


def recorded(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return json.load(file)


def lower_isas():
    """The instruction sets below the best one here that have kernels of their own."""
    best = json.loads(run("devices", "--json").text)["devices"][0]["isa"]
    order = ["avx2", "avx512"]
    return order[:order.index(best)] if best in order else []


class Golden(Case):
    def prompt(self, name):
        """Options that give `run` a prompt."""
        prompt = recorded("prompts.json")[name]
        if "text" in prompt:
            return "--raw", "-p", prompt["text"]
        return "--messages", scratch(name + ".json", json.dumps(prompt["messages"]))

    def test_prompts_render(self):
        for name, prompt in recorded("prompts.json").items():
            if "messages" not in prompt:
                continue
            with self.subTest(name):
                self.assertEqual(self.ok("template", "-m", MODEL, *self.prompt(name)).text, prompt["rendered"])

    def test_prompts_tokenize(self):
        prompts = recorded("prompts.json")
        texts = [prompt.get("rendered", prompt.get("text")) for prompt in prompts.values()]
        lines = "".join(json.dumps(text) + "\n" for text in texts)
        got = self.ok("tokenize", "-m", MODEL, "--jsonl", "--parse-special", stdin=lines).text.splitlines()
        wanted = [recorded("greedy.json")[name]["tokens"] for name in prompts]
        self.assertEqual([json.loads(line) for line in got], wanted)
        lines = "".join(json.dumps(tokens) + "\n" for tokens in wanted)
        back = self.ok("detokenize", "-m", MODEL, "--jsonl", stdin=lines).text.splitlines()
        self.assertEqual([json.loads(line) for line in back], texts)

    def pick(self, names, *options):
        for name in names:
            with self.subTest(name, options=options):
                self.picks_recorded(MODEL, recorded("greedy.json")[name], *options)

    def test_fast_kernels_pick_the_recorded_tokens(self):
        self.pick(["raw-code", "robot", "math", "unicode"])

    def test_lower_instruction_sets_pick_the_recorded_tokens(self):
        for isa in lower_isas():
            self.pick(["raw-code", "math"], "--isa", isa)

    def compared_logits(self, *options):
        """-> distance of the kept logits, distance of their logarithmic probabilities, KL divergence: the last two
        as means over the rows"""
        wanted = recorded("logits.json")
        shape, values = self.logits(MODEL, wanted["tokens"], *options)
        self.assertEqual(shape, (len(wanted["tokens"]), 49152))
        logits = rows(shape, values)
        distances, of_logs, divergences = [], [], []
        for row in wanted["rows"]:
            got = logits[row["row"]]
            best = max(got)
            log_sum_exp = best + math.log(sum(math.exp(x - best) for x in got))
            kept = [got[i] for i in row["columns"]]
            logs = [x - log_sum_exp for x in kept]
            wanted_logs = [x - row["log_sum_exp"] for x in row["logits"]]
            distances.append(distance(kept, row["logits"]))
            of_logs.append(distance(logs, wanted_logs))
            divergences.append(kl_divergence(wanted_logs, logs))
        return max(distances), statistics.mean(of_logs), statistics.mean(divergences)

    def test_reference_logits(self):
        of_logits, _, divergence = self.compared_logits(*REFERENCE)
        self.assertLess(of_logits, 1e-3)
        self.assertLess(divergence, 1e-4)

    def test_fast_logits(self):
        for options in [()] + [("--isa", isa) for isa in lower_isas()]:
            with self.subTest(options=options):
                _, of_logs, divergence = self.compared_logits(*options)
                self.assertLess(of_logs, 1.5e-2)
                self.assertLess(divergence, 6e-3)  # 8-bit activations cost about half

    def greedy_text(self, name, least_lead, *options):
        """The answer at temperature 0 begins as recorded, as far as every token leads by that much."""
        greedy = recorded("greedy.json")[name]
        n = next((i for i, lead in enumerate(greedy["margin"]) if lead < least_lead), len(greedy["margin"]))
        self.assertGreater(n, 8)
        tokens = [token for token in greedy["greedy"][:n] if token != END]
        wanted = self.ok("detokenize", "-m", MODEL, json.dumps(tokens)).text
        got = self.ok("run", "-m", MODEL, *self.prompt(name), "--temp", 0, "-n", n, *options).text
        self.assertEqual(got.strip(), wanted.strip())

    def test_greedy_text(self):
        self.greedy_text("math", 0.02, *REFERENCE)
        self.greedy_text("math", SURE_NAT)
        self.greedy_text("list", SURE_NAT)

    def test_same_seed_same_text(self):
        def text(seed):
            return self.ok("run", "-m", MODEL, *self.prompt("raw-story"), "--temp", 1, "--seed", seed, "-n", 24).text

        self.assertEqual(text(3), text(3))
        self.assertNotEqual(text(3), text(4))

    def perplexity(self, *options):
        return json.loads(self.ok("perplexity", "-m", MODEL, "-f", os.path.join(HERE, "excerpt.txt"), *options,
                                  "--json").text)

    def test_perplexity(self):
        wanted = recorded("excerpt.json")
        got = self.perplexity("-c", wanted["context"])
        self.assertEqual(got["tokens"], wanted["scored"])
        self.assertAlmostEqual(got["perplexity"] / wanted["perplexity"], 1, delta=0.01)

    def test_perplexity_of_cache_formats(self):
        context = recorded("excerpt.json")["context"]
        half = self.perplexity("-c", context)["perplexity"]
        for formats, most in ("f32", 1.005), ("q8_0", 1.01), ("q8_0,q4_0", 1.03), ("q4_0", 1.10):
            with self.subTest(formats):
                self.assertAlmostEqual(self.perplexity("-c", context, "--kv", formats)["perplexity"] / half, 1,
                                       delta=most - 1)

    def test_perplexity_of_policies(self):
        """Sinks read on where a window falls apart, and better than beginning anew."""
        def of(policy, kv="f16"):
            return self.perplexity("-c", 128, "--all", "--batch", 16, "--cache-policy", policy, "--kv", kv)["perplexity"]

        anew, sinks = of("full"), of("sinks")
        self.assertLess(sinks, 0.9 * anew)
        self.assertGreater(of("window"), 1.2 * anew)
        self.assertAlmostEqual(of("sinks", "q8_0") / sinks, 1, delta=0.03)
        self.assertAlmostEqual(of("sinks", "q4_0") / sinks, 1, delta=0.1)


def kl_divergence(wanted, got):
    """Of two distributions, given the logarithms of some probabilities: what is left counts as one more."""
    sums = [max(1 - sum(map(math.exp, logs)), 1e-9) for logs in (wanted, got)]
    pairs = list(zip(wanted, got)) + [tuple(map(math.log, sums))]
    return sum(math.exp(p) * (p - q) for p, q in pairs)


if __name__ == "__main__":
    run_tests(sys.modules["__main__"], why_skip("EDGELLM_MODEL", SHA256))
