"""plan_test.py PROGRAM TINY-MODEL GOLDEN/ARCH: what `edgellm plan` and `--budget` promise."""
import json
import os
import sys

from case import Case, run_tests
from program import ARCH, TINY


class Plan(Case):
    def plan(self, *options):
        return json.loads(self.ok("plan", TINY, "-t", 2, *options, "--json").text)

    def test_regions_add_up(self):
        plan = self.plan("-c", 96)
        self.assertEqual(sum(region["bytes"] for region in plan["regions"]), plan["total_bytes"])
        self.assertLess(plan["load_peak_bytes"], plan["total_bytes"])
        self.assertTrue(plan["fits"])
        self.assertEqual((plan["context_tokens"], plan["max_context"]), (96, 128))
        self.assertEqual({region["device"] for region in plan["regions"]}, {"cpu"})
        cache = [region for region in plan["regions"] if region["name"].startswith("cache group")]
        self.assertEqual([region["rows"] for region in cache], [96])
        self.assertEqual(cache[0]["bytes"], 96 * plan["cache_bytes_per_token"])
        f32 = self.plan("-c", 96, "--kv", "f32")
        self.assertEqual(f32["cache_bytes_per_token"], 2 * plan["cache_bytes_per_token"])

    def test_the_table_names_what_there_is(self):
        text = self.ok("plan", "-m", TINY, "-c", 96, "--budget", "1Gi").text
        for words in ("weights Q8_0", "cache group 0 (2 layers, full)", "activations", "logits", "staging", "total",
                      "1073741824", "fits", "the most that fits: 128", "bytes x tokens of context"):
            self.assertIn(words, text)

    def test_windows_bound_the_cache(self):
        plan = json.loads(self.ok("plan", os.path.join(ARCH, "gemma3.gguf"), "--batch", 16, "--json").text)
        names = [region["name"] for region in plan["regions"]]
        self.assertIn("cache group 0 (6 layers, window 16)", names)
        self.assertIn("cache group 1 (1 layer, full)", names)
        self.assertGreater(plan["cache_fixed_bytes"], 0)

    def test_a_budget_binds(self):
        whole = self.plan("-c", 128)
        tight = self.plan("-c", 128, "--budget", whole["resident_bytes"] - 1)
        self.assertFalse(tight["fits"])
        self.assertEqual(tight["budget_bytes"], whole["resident_bytes"] - 1)
        self.assertTrue(0 < tight["max_context"] < 128)
        self.assertTrue(self.plan("-c", tight["max_context"], "--budget", tight["budget_bytes"])["fits"])
        options = ("run", "-m", TINY, "-p", "x", "-n", 1, "-t", 2, "--budget", tight["budget_bytes"])
        self.fails(1, "would fit", *options, "-c", 128)
        self.ok(*options, "-c", tight["max_context"])
        self.fails(1, "there is no room for", "run", "-m", TINY, "-p", "x", "--budget", "3200K")
        self.assertEqual(self.plan("--budget", "3200K")["max_context"], 0)

    def test_files_without_weights(self):
        path = os.path.join(os.path.dirname(ARCH), "vocab", "small-spm.gguf")
        plan = json.loads(self.ok("plan", path, "--json").text)
        self.assertEqual((plan["context_tokens"], plan["max_context"]), (0, 0))
        self.assertEqual(plan["total_bytes"], plan["load_peak_bytes"])

    def test_bad_input(self):
        self.fails(1, "context_tokens is 129", "plan", TINY, "-c", 129)
        self.fails(2, "number above 0", "plan", TINY, "--budget", 0)
        hunyuan = os.path.join(ARCH, "hunyuan-dense.gguf")
        self.fails(1, "choose 'window'", "plan", hunyuan, "--cache-policy", "sinks")
        self.ok("plan", hunyuan, "--cache-policy", "window")
        self.fails(1, "/no/such/file", "plan", "/no/such/file")


if __name__ == "__main__":
    run_tests(sys.modules["__main__"])
