"""program_test.py PROGRAM TINY-MODEL GOLDEN/ARCH: what the program measures on a GPU, with a runtime that only pretends."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from case import Case, run_tests, scratch  # noqa: E402
from program import TINY  # noqa: E402


class Measured(Case):
    def test_profile(self):
        model = scratch("quantized.gguf")
        self.ok("synth", "smollm2-135m", model, "--layers", 2)
        profile = ["profile", "-m", model, "--device", "cuda", "-p", 20, "-n", 3]
        result = json.loads(self.ok(*profile, "--json").text)
        self.assertEqual((result["device"], result["isa"]), ("cuda", None))
        self.assertIn("Fake GPU", result["description"])
        self.assertGreater(min(result["read_gb_per_s"], result["matrix_gflop_per_s"]), 0)
        names = [[stage["name"] for stage in result[phase]["stages"] if stage["layer"] == 0]
                 for phase in ("prefill", "decode")]
        self.assertEqual(names[1], ["norm, 3 linear", "2 rope, cache-write, attention", "linear, add",
                                    "norm, 2 linear, gate", "linear, add"])
        self.assertTrue(all("," not in name for name in names[0]))  # many tokens go op by op in such a model
        for phase in ("prefill", "decode"):  # each stage takes a microsecond here
            self.assertAlmostEqual(result[phase]["stages_us"], len(result[phase]["stages"]), places=3)
            self.assertEqual([layer["layer"] for layer in result[phase]["layers"]], [0, 1])
        self.assertIn("2 rope, cache-write, attention", self.ok(*profile).text)

    def test_bench(self):
        model = scratch("quantized.gguf")
        self.ok("synth", "smollm2-135m", model, "--layers", 2)
        bench = ["bench", "-m", model, "--device", "cuda", "-p", 8, "-n", 3, "-d", "0,8", "--sequences", "1,2,4,8"]
        result = json.loads(self.ok(*bench, "--json").text)
        self.assertEqual(result["device"], "cuda")
        self.assertGreater(result["read_gb_per_s"], 0)
        self.assertAlmostEqual(result["decode_gb_per_s"] / result["read_gb_per_s"] * 100,
                               result["decode_percent_of_read"], places=6)
        self.assertEqual([one["sequences"] for one in result["sequences"]], [1, 2, 4, 8])
        self.assertEqual(self.ok(*bench).text.count("together"), 4)

    def test_reference_kernels_are_on_the_cpu(self):
        self.fails(1, "'cuda' has no reference kernels; choose 'cpu'", "logits", "-m", TINY, "--tokens", "1,2", "-o",
                   scratch("none.npy"), "--device", "cuda", "--kernels", "reference")

    def test_devices_that_exist_are_told(self):
        self.fails(1, "no device 'gpu'; choose 'cpu', 'cuda', or 'auto'", "plan", TINY,
                   env={**os.environ, "EDGELLM_DEVICE": "gpu"})

    def test_a_missing_cublas_is_told(self):
        def described(**env):
            devices = json.loads(self.ok("devices", "--json", env={**os.environ, **env}).text)["devices"]
            return next(device["description"] for device in devices if device["name"] == "cuda")

        self.assertNotIn("cuBLAS", described())
        self.assertTrue(described(FAKE_CUDA_BLAS="absent").endswith(", without cuBLAS"))
        # Where nothing is lost by it.
        self.assertNotIn("cuBLAS", described(FAKE_CUDA_BLAS="absent", FAKE_CUDA_CAPABILITY="87"))
        self.assertNotIn("cuBLAS", described(FAKE_CUDA_BLAS="absent", EDGELLM_CUDA_PREFILL="fused"))
        # Where it is asked for.
        asked = described(FAKE_CUDA_BLAS="absent", FAKE_CUDA_CAPABILITY="87", EDGELLM_CUDA_PREFILL="cublas")
        self.assertTrue(asked.endswith(", without cuBLAS"))

    def test_what_the_environment_chooses_is_told(self):
        env = {**os.environ, "EDGELLM_DEVICE": "cpu"}
        self.assertIn("EDGELLM_DEVICE: cpu\n", self.ok("devices", env=env).text)
        self.assertEqual(json.loads(self.ok("devices", "--json", env=env).text)["EDGELLM_DEVICE"], "cpu")


class Busy(Case):
    def test_what_others_have_taken_is_told_and_the_cpu_works(self):
        for error, reason in (("2", "the GPU cannot be used now: out of memory"), ("46", "the GPU cannot be used now"),
                              ("999", "the GPU cannot be used now")):
            env = {**os.environ, "FAKE_CUDA_BUSY": error, "EDGELLM_DEVICE": ""}
            devices = json.loads(self.ok("devices", "--json", env=env).text)
            self.assertEqual([device["name"] for device in devices["devices"]], ["cpu", "cuda"])
            self.assertFalse(devices["gpu"]["available"])
            self.assertIn(reason, devices["gpu"]["reason"])
            self.assertIn(reason, self.ok("devices", env=env).text)
            bench = ("bench", "-m", TINY, "-p", "4", "-n", "4", "-r", "1", "--json")
            self.assertEqual(json.loads(self.ok(*bench, "--device", "cpu", env=env).text)["device"], "cpu")
            for integrated in ({}, {"FAKE_CUDA_INTEGRATED": "1"}):
                auto = self.ok(*bench, env={**env, **integrated})
                self.assertIn("device cuda is not used: " + reason, auto.err)
                self.assertEqual(json.loads(auto.text)["device"], "cpu")
                self.fails(1, reason, *bench, "--device", "cuda", env={**env, **integrated})


class Missing(Case):
    def test_the_reason_is_told(self):
        for error, reason in (("35", "there is no NVIDIA driver, or it is too old"), ("100", "the driver knows no GPU"),
                              ("999", "the NVIDIA driver does not start")):
            env = {**os.environ, "FAKE_CUDA_NO_DEVICE": error}
            self.assertIn(reason, self.ok("devices", env=env).text)
            self.assertIn(reason, json.loads(self.ok("devices", "--json", env=env).text)["gpu"]["reason"])
            self.ok("logits", "-m", TINY, "--tokens", "1,2", "-o", scratch("one.npy"), env=env)  # on the CPU
            self.fails(1, reason, "logits", "-m", TINY, "--tokens", "1,2", "-o", scratch("two.npy"), "--device", "cuda",
                       env=env)


if __name__ == "__main__":
    run_tests(sys.modules[__name__])
