"""cli_test.py PROGRAM TINY-MODEL GOLDEN/ARCH: what the program promises to those who call it."""
import glob
import json
import math
import os
import platform
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import time

import program
from case import FOLDER, Case, patient_model, run_tests, scratch
from program import ARCH, LLAMA, REFERENCE, TINY, distance, read_ints, read_npy, rows, run, start


class Usage(Case):
    def test_bad_usage_is_status_2(self):
        self.fails(2, "subcommand")
        self.fails(2, "no command 'schedule'", "schedule", TINY)
        self.fails(2, "--budget", "plan", TINY, "--budget", "0")
        self.fails(2, "--budget", "plan", TINY, "--budget", "6X")
        self.fails(2, "--model", "run", "-p", "x")
        self.fails(2, "--nonsense", "devices", "--nonsense")
        self.fails(2, "--threads", "bench", "-m", TINY, "-t", "0")
        self.fails(2, "--batch", "bench", "-m", TINY, "--batch", "many")
        self.fails(2, "--kv", "bench", "-m", TINY, "--kv", "q3")
        self.fails(2, "--kernels", "bench", "-m", TINY, "--kernels", "best")

    def test_help_and_version_are_results(self):
        self.assertIn("perplexity", self.ok("--help").text)
        self.assertIn("--temp", self.ok("run", "--help").text)
        self.assertRegex(self.ok("--version").text, r"^edgellm \d+\.\d+\.\d+\n$")

    def test_files_that_are_no_models(self):
        missing = scratch("missing.gguf")
        no_gguf = scratch("no.gguf", b"#!/bin/sh\necho hello\n" * 10)
        with open(TINY, "rb") as file:
            cut = scratch("cut.gguf", file.read()[:20000])
        for command in (["inspect"], ["tokenize", "x", "-m"], ["run", "-p", "x", "-m"], ["bench", "-m"]):
            self.fails(1, missing, *command, missing)
            self.fails(1, no_gguf, *command, no_gguf)
            self.fails(1, cut, *command, cut)
            self.fails(1, FOLDER.name, *command, FOLDER.name)

    def test_closed_standard_streams(self):
        result = subprocess.run(["sh", "-c", 'exec "$0" tokenize -m "$1" <&-', program.PROGRAM, TINY],
                                capture_output=True, timeout=60)
        self.assertEqual((result.returncode, result.stdout), (0, run("tokenize", "-m", TINY, stdin=b"").out))
        result = subprocess.run(["sh", "-c", 'exec "$0" models >&-', program.PROGRAM], capture_output=True, timeout=60)
        self.assertEqual(result.returncode, 1, "a result that nobody gets")

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            for args in (["devices"], ["inspect", TINY, "--json"], ["tokenize", "-m", TINY, "hello"], ["--help"],
                         ["run", "-m", TINY, "-p", "x", "-n", "5"], ["bench", "-m", TINY, "-p", "8", "-n", "2"]):
                self.fails(1, "standard output", *args, stdout=full)
        reading, writing = os.pipe()
        os.close(reading)
        self.fails(1, "standard output", "inspect", TINY, stdout=writing)
        os.close(writing)
        result = subprocess.run(["sh", "-c", 'ulimit -f 1; exec "$0" synth smollm2-135m "$1" --layers 1',
                                 program.PROGRAM, scratch("large.gguf")], capture_output=True, timeout=60)
        self.assertEqual((result.returncode, glob.glob(scratch("large.gguf") + "*")), (1, []))

    def test_links_are_written_through(self):
        old, link = scratch("old.npy", "old"), scratch("link.npy")
        os.chmod(old, 0o640)
        os.symlink(old, link)
        for path in (link, old):
            self.ok("logits", "-m", LLAMA, "--tokens", "1,2", "-o", path)
            self.assertEqual(read_npy(old)[0][0], 2)
            self.assertEqual((os.path.islink(link), os.stat(old).st_mode & 0o777), (True, 0o640))
        self.ok("synth", "smollm2-135m", link, "--layers", 1)
        self.ok("inspect", old)
        self.assertTrue(os.path.islink(link))
        result = subprocess.run(["sh", "-c", '"$0" inspect "$1" --tensor output_norm.weight -o /dev/stdout >"$2"',
                                 program.PROGRAM, LLAMA, scratch("through.npy")], timeout=60)
        self.assertEqual((result.returncode, read_npy(scratch("through.npy"))[0]), (0, (64,)))

    def test_what_was_there_stays_until_there_is_something_whole(self):
        old, link = scratch("precious.gguf", "precious"), scratch("to-precious.gguf")
        os.symlink(old, link)
        for path in (old, link):
            with start("synth", "llama-3.2-3b", path) as process:
                for _ in range(6000):
                    if glob.glob(old + ".part-*"):
                        break
                    time.sleep(0.01)
                process.send_signal(signal.SIGTERM)
                self.assertEqual(process.wait(60), 1)
            with open(old, "rb") as file:
                self.assertEqual((file.read(), glob.glob(old + ".part-*")), (b"precious", []))

    def test_signals_end_with_status_1(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with start("bench", "-m", patient_model(), "-p", 4, "-n", 90000) as process:
                process.stdout.readline()  # it has begun
                process.send_signal(number)
                self.assertEqual(process.wait(60), 1)
                self.assertIn(b"signal", process.stderr.read())


class Text(Case):
    def test_any_bytes_come_back(self):
        data = bytes(range(256)) + "Grüße, 世界 🙂\r\n\n  hello".encode() + b"\xff\xfe\x80"
        ids = self.tokens(data, "--no-bos")
        self.assertEqual(self.ok("detokenize", "-m", TINY, stdin=json.dumps(ids)).out, data)
        self.assertEqual(self.ok("detokenize", "-m", TINY, ",".join(map(str, ids))).out, data)

    def test_begin_of_sequence_and_special_tokens(self):
        plain = self.tokens("hello", "--no-bos")
        self.assertEqual(self.tokens("hello"), [1] + plain)
        self.assertEqual(json.loads(self.ok("tokenize", "-m", TINY, "hello").text), [1] + plain)
        self.assertGreater(len(self.tokens("<|im_end|>", "--no-bos")), 1)
        self.assertEqual(self.tokens("<|im_end|>", "--no-bos", "--parse-special"), [2])
        self.assertEqual(self.ok("detokenize", "-m", TINY, "1, 2").text, "<|im_start|><|im_end|>")
        self.assertEqual(self.tokens("", "--no-bos"), [])
        self.assertEqual(json.loads(self.ok("tokenize", "-m", TINY, "--no-bos", "--", "-x").text),
                         self.tokens("-x", "--no-bos"))

    def test_json_lines(self):
        texts = ["hello", "", "two\nlines", "\u0000 \U0001f642", "ends\u0085of\u2028other\u2029lines"]
        lines = "".join(json.dumps(text) + "\n" for text in texts)
        arrays = self.ok("tokenize", "-m", TINY, "--no-bos", "--jsonl", stdin=lines).text
        self.assertEqual([json.loads(line) for line in arrays.splitlines()],
                         [self.tokens(text, "--no-bos") for text in texts])
        back = self.ok("detokenize", "-m", TINY, "--jsonl", stdin=arrays).text
        self.assertEqual([json.loads(line) for line in back.splitlines()], texts)
        half = [self.tokens("é", "--no-bos")[0]]
        back = self.ok("detokenize", "-m", TINY, "--jsonl", stdin=json.dumps(half)).text
        self.assertEqual(json.loads(back), "\ufffd")

    def test_bad_input(self):
        self.fails(2, "'x'", "detokenize", "-m", TINY, "1,x")
        self.fails(2, "-3", "detokenize", "-m", TINY, "1 -3")
        self.fails(1, "100000", "detokenize", "-m", TINY, "1,100000")
        self.fails(1, "line 1", "tokenize", "-m", TINY, "--jsonl", stdin="{}\n")
        self.fails(1, "line 1", "tokenize", "-m", TINY, "--jsonl", stdin=b'"\xff"\n')
        self.fails(1, "line 1", "detokenize", "-m", TINY, "--jsonl", stdin='[1, "2"]\n')
        self.fails(1, "vocabulary", "tokenize", "-m", LLAMA, "hello")

    def test_template(self):
        messages = scratch("messages.json", '[{"role": "user", "content": "Hi"}]')
        self.assertEqual(self.ok("template", "-m", TINY, "--messages", messages).text,
                         "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
        source = scratch("t.jinja",
                         "{{ strftime_now('%Y') }} {{ name }}{% if bad %}{{ raise_exception('so not') }}{% endif %}")
        variables = scratch("vars.json", '{"name": "Ada", "bad": false}')
        options = ["--template", source, "--now", "2025-07-26T12:00:00", "--vars"]
        self.assertEqual(self.ok("template", *options, variables).text, "2025 Ada")
        self.fails(1, "so not", "template", *options, scratch("bad.json", '{"bad": true}'))
        lines = scratch("lines.jinja", "{{ raise_exception('so\\n\\tnot') }}")
        self.fails(1, "so\n\tnot", "template", "--template", lines, "--vars", variables)
        self.fails(1, "broken.json: the messages", "template", "-m", TINY, "--messages", scratch("broken.json", "[{"))
        self.fails(1, "NUL", "template", "-m", TINY, "--messages", scratch("nul.json", "[]\0junk"))
        self.fails(2, "--now", "template", "--template", source, "--vars", variables, "--now", "noon")
        self.fails(2, "--vars", "template", "--template", source)
        tools = scratch("tools.json", '[{"name": "lamp"}]')
        shown = scratch("tools.jinja", "{{ tools[0].name }} {{ messages[0].content }}")
        result = self.ok("template", "--template", shown, "--messages", messages, "--tools", tools)
        self.assertEqual(result.text, "lamp Hi")


class Logits(Case):
    IDS = read_ints(os.path.join(program.ARCH, "llama.tokens.npy"))

    def test_batches_agree_with_the_original(self):
        shape, wanted = read_npy(os.path.join(program.ARCH, "llama.npy"))
        whole = self.logits(LLAMA, self.IDS, *REFERENCE)
        self.assertEqual(whole[0], shape)
        self.assertLess(distance(whole[1], wanted), 1e-4)
        for batch in (1, 7):
            self.assertEqual(self.logits(LLAMA, self.IDS, *REFERENCE, "--batch", batch), whole)
            fast = self.logits(LLAMA, self.IDS, "--batch", batch)
            self.assertLess(distance(fast[1], wanted), 0.05)
        self.assertEqual(self.logits(LLAMA, self.IDS, *REFERENCE, "-t", 1), whole)

    def test_what_cannot_be_done(self):
        output = scratch("none.npy")
        logits = ["logits", "-m", LLAMA, "-o", output, "--tokens"]
        self.fails(2, "'a'", *logits, "1,a")
        self.fails(2, "none", *logits, "")
        self.fails(1, "99999", *logits, "1,99999")
        self.fails(1, "room for 4", *logits, "1,2,3,4,5", "-c", 4)
        self.fails(1, "nowhere", "logits", "-m", LLAMA, "--tokens", "1", "-o", scratch("nowhere/x.npy"))
        self.fails(1, "directory", "logits", "-m", LLAMA, "--tokens", "1", "-o", FOLDER.name)
        self.assertEqual([name for name in os.listdir(FOLDER.name) if name.startswith("none")], [])

    def test_pipes_get_the_array_too(self):
        result = self.ok("logits", "-m", LLAMA, "--tokens", "1,2", "-o", "/dev/stdout")
        self.assertEqual(result.out[:6], b"\x93NUMPY")

    def test_perplexity_is_what_logits_say(self):
        text, chunk = "hello world, this is a text. " * 8, 50
        path = scratch("text.txt", text)
        ids, scores = self.tokens(text), []
        for begin in range(0, len(ids) - chunk + 1, chunk):
            part = [1] + ids[begin + 1:begin + chunk]
            for i, row in enumerate(rows(*self.logits(TINY, part, *REFERENCE))[:-1]):
                if i >= chunk // 2:
                    largest = max(row)
                    scores.append(math.log(sum(math.exp(x - largest) for x in row)) + largest - row[part[i + 1]])
        result = json.loads(self.ok("perplexity", "-m", TINY, "-f", path, "-c", chunk, "--json", *REFERENCE).text)
        self.assertEqual(result["tokens"], len(scores))
        wanted = math.exp(statistics.fmean(scores))
        self.assertAlmostEqual(result["perplexity"] / wanted, 1, places=5)
        error = wanted * statistics.pstdev(scores) / math.sqrt(len(scores) - 1)
        self.assertAlmostEqual(result["stderr"] / error, 1, places=4)
        said = self.ok("perplexity", "-m", TINY, "-f", path, "-c", chunk, *REFERENCE).text
        self.assertAlmostEqual(float(said.split()[1]) / wanted, 1, places=5)
        self.fails(1, "tokens", "perplexity", "-m", TINY, "-f", path, "-c", 10000)
        self.fails(1, "missing.txt", "perplexity", "-m", TINY, "-f", scratch("missing.txt"))
        self.fails(1, "vocabulary", "perplexity", "-m", LLAMA, "-f", path)


class Files(Case):
    def test_inspect(self):
        data = json.loads(self.ok("inspect", LLAMA, "--json").text)
        self.assertEqual(data["metadata"]["general.architecture"], "llama")
        self.assertEqual(data["tensor_bytes"], sum(tensor["bytes"] for tensor in data["tensors"]))
        self.assertEqual(data["tensor_bytes"], sum(one["bytes"] for one in data["formats"].values()))
        text = self.ok("inspect", LLAMA).text
        for tensor in data["tensors"]:
            self.assertIn(tensor["name"], text)
        vocabulary = json.loads(self.ok("inspect", TINY, "--json", "--full").text)["metadata"]["tokenizer.ggml.tokens"]
        self.assertEqual(vocabulary[1], "<|im_start|>")
        program_text = self.ok("inspect", LLAMA, "--program").text
        for op in ("embed", "rope", "attention"):
            self.assertIn(op, program_text)

    def test_inspect_decodes_a_tensor(self):
        tensors = json.loads(self.ok("inspect", LLAMA, "--json").text)["tensors"]
        for tensor in (next(t for t in tensors if t["format"] == kind) for kind in ("F16", "F32")):
            path = scratch("tensor.npy")
            self.ok("inspect", LLAMA, "--tensor", tensor["name"], "-o", path)
            shape, values = read_npy(path)
            self.assertEqual(list(shape), tensor["shape"])
            with open(LLAMA, "rb") as file:
                file.seek(tensor["offset"])
                code = "<e" if tensor["format"] == "F16" else "<f"
                wanted = [x[0] for x in struct.iter_unpack(code, file.read(tensor["bytes"]))]
            self.assertEqual(list(values), wanted)
        self.fails(1, "no tensor 'nothing'", "inspect", LLAMA, "--tensor", "nothing", "-o", scratch("x.npy"))
        self.fails(2, "-o", "inspect", LLAMA, "--tensor", "output_norm.weight")

    def test_inspect_needs_no_known_architecture(self):
        with open(LLAMA, "rb") as file:
            unknown = scratch("unknown.gguf", file.read().replace(b"llama", b"drama"))
        self.assertIn("drama", self.ok("inspect", unknown).text)
        self.fails(1, "drama", "inspect", unknown, "--program")
        self.fails(1, "drama", "bench", "-m", unknown)

    def test_bench(self):
        bench = ["bench", "-m", LLAMA, "-p", 9, "-n", 3, "-r", 2]
        result = json.loads(self.ok(*bench, "--json").text)
        for key in ("prefill_tokens_per_s", "decode_tokens_per_s"):
            self.assertGreater(result[key]["mean"], 0)
            self.assertGreaterEqual(result[key]["stddev"], 0)
            self.assertAlmostEqual(result[key]["median"], result[key]["mean"])  # of two
        self.assertGreater(result["decode_gb_per_s"], 0)
        self.assertGreater(result["ttft_ms"], 0)
        self.assertEqual((result["model"], result["device"]), ("llama.gguf", "cpu"))
        self.assertGreaterEqual(result["threads"], 1)
        self.assertAlmostEqual(result["decode_gb_per_s"] / result["read_gb_per_s"] * 100,
                               result["decode_percent_of_read"], places=6)
        self.assertEqual(result["decode_percent_of_first_depth"], 100)
        deep = json.loads(self.ok(*bench, "--json", "-d", "0,5").text)
        self.assertEqual([one["depth"] for one in deep["depths"]], [0, 5])
        rates = [one["decode_tokens_per_s"]["mean"] for one in deep["depths"]]
        self.assertAlmostEqual(deep["depths"][1]["decode_percent_of_first_depth"], rates[1] / rates[0] * 100, places=6)
        text = self.ok(*bench, "-d", "0,5").text
        self.assertEqual([text.count(words) for words in ("tokens/s", "% of the read rate", "% of the first depth's")],
                         [4, 2, 1])
        for name in ("gemma3", "lfm2"):  # which cannot go back that far, or at all
            model = os.path.join(ARCH, name + ".gguf")
            deep = json.loads(self.ok("bench", "-m", model, "-p", 120, "-n", 90, "-d", "0,128", "-r", 2, "--json").text)
            self.assertEqual([one["depth"] for one in deep["depths"]], [0, 128])
        only = json.loads(self.ok("bench", "-m", LLAMA, "-p", 0, "-n", 2, "-r", 1, "--json").text)
        self.assertIsNone(only["prefill_tokens_per_s"])
        for number in ("-1", "010", "4294967296", "x"):
            self.fails(2, "whole number", "bench", "-m", LLAMA, "-p", number)
        self.ok(*bench, "--cache-policy", "sinks")  # which wants more tokens of context than the work
        evicting = ["bench", "-m", patient_model(), "--kernels", "reference", "-c", 128, "--cache-policy", "window"]
        evicted = json.loads(self.ok(*evicting, "-p", 300, "-n", 1, "-d", 64, "-r", 2, "--json").text)
        self.assertEqual(evicted["depth"], 64)
        self.fails(1, "context", "bench", "-m", TINY, "-p", 1000)
        many = json.loads(self.ok(*bench, "--json", "--sequences", "1,3", "--latency").text)
        self.assertEqual([one["sequences"] for one in many["sequences"]], [1, 3])
        for one in many["sequences"]:
            each, together = one["per_sequence_tokens_per_s"], one["decode_tokens_per_s"]["mean"]
            self.assertAlmostEqual(each * one["sequences"] / together, 1, places=6)
        latency = many["latency_ms"]
        times = [latency["token_" + which] for which in ("p50", "p90", "p99", "max")]
        self.assertGreater(times[0], 0)
        self.assertEqual(times, sorted(times))
        self.assertGreater(latency["cancel_max"], 0)
        self.fails(2, "--sequences", *bench, "--sequences", "0")
        self.fails(2, "--latency", "bench", "-m", LLAMA, "-p", 2, "-n", 0, "--latency")
        self.fails(2, "'x' is no number of sequences", "bench", "-m", LLAMA, "--sequences", "1,x")

    def test_profile(self):
        profile = ["profile", "-m", LLAMA, "-p", 9, "-n", 4, "--depth", 5]
        result = json.loads(self.ok(*profile, "--json").text)
        self.assertEqual((result["model"], result["device"]), ("llama.gguf", "cpu"))
        self.assertGreater(min(result["read_gb_per_s"], result["matrix_gflop_per_s"]), 0)
        for name, tokens in ("prefill", 9), ("decode", 1):
            phase = result[name]
            self.assertEqual((phase["tokens"], phase["depth"]), (tokens, 5))
            self.assertGreater(phase["step_us"], 0)
            for key in ("stage_kinds", "op_kinds", "stages"):
                self.assertAlmostEqual(sum(one["us"] for one in phase[key]) / phase["stages_us"], 1, places=6)
                self.assertAlmostEqual(sum(one["percent_of_time"] for one in phase[key]), 100, places=6)
                for one in phase[key]:
                    self.assertIn(one["bound"], ("bytes", "flops", "latency"))
            self.assertEqual([one["layer"] for one in phase["layers"]], [0, 1])
            self.assertEqual(sum(one["count"] for one in phase["stage_kinds"]), len(phase["stages"]))
            self.assertIn("attention", [one["name"] for one in phase["op_kinds"]])
        # Twice as many weights are not read for nine times as many tokens, but nine times as much is computed.
        whole = {name: {key: sum(one[key] for one in result[name]["stages"]) for key in ("weight_bytes", "flops")}
                 for name in ("prefill", "decode")}
        self.assertLess(whole["prefill"]["weight_bytes"], 2 * whole["decode"]["weight_bytes"])
        self.assertGreater(whole["prefill"]["flops"], 4 * whole["decode"]["flops"])

        text = self.ok(*profile).text
        for words in ("prefill of 9 tokens after 5", "decode of 1 token after 5", "bound", "attention", "layer   0, us"):
            self.assertIn(words, text)
        reference = json.loads(self.ok("profile", "-m", LLAMA, "-p", 0, "-n", 2, *REFERENCE, "--json").text)
        self.assertIsNone(reference["prefill"])
        self.assertTrue(all("," not in one["name"] for one in reference["decode"]["stages"]))
        self.fails(2, "-p 0 and -n 0", "profile", "-m", LLAMA, "-p", 0, "-n", 0)
        self.fails(1, "context", "profile", "-m", TINY, "-p", 1000)
        if not json.loads(self.ok("devices", "--json").text)["gpu"]["available"]:
            for command in ("profile", "bench"):
                self.fails(1, "cuda:", command, "-m", LLAMA, "--device", "cuda")

    def test_profiles_of_all_architectures(self):
        for name in ("mixtral", "gemma3", "lfm2", "granite-hybrid"):
            model = os.path.join(ARCH, name + ".gguf")
            result = json.loads(self.ok("profile", "-m", model, "-p", 8, "-n", 2, "--depth", 2, "--json").text)
            self.assertGreater(len(result["decode"]["stages"]), 4)

    def test_devices(self):
        data = json.loads(self.ok("devices", "--json").text)
        cpu = data["devices"][0]
        self.assertEqual(cpu["name"], "cpu")
        self.assertGreaterEqual(cpu["threads"], 1)
        self.assertIn(cpu["isa"], ("scalar", "avx2", "avx512", "neon"))
        if data["gpu"]["available"]:
            self.assertNotIn("gpu: not used", self.ok("devices").text)
        else:
            self.assertTrue(data["gpu"]["reason"])
            self.assertIn("gpu: not used", self.ok("devices").text)
            self.fails(1, "cuda", "run", "-m", TINY, "-p", "x", "--device", "cuda")

    def test_the_cuda_module_is_never_taken_from_the_working_directory(self):
        """Called by its name alone, beside a file of that name and where a module of others lies."""
        elsewhere = os.path.join(FOLDER.name, "a", "b", "c")
        os.makedirs(elsewhere)
        shutil.copy(TINY, os.path.join(elsewhere, os.path.basename(program.PROGRAM)))
        for folder in (".", "../lib", "../cuda", "../../cuda"):
            os.makedirs(os.path.join(elsewhere, folder), exist_ok=True)
            shutil.copy(TINY, os.path.join(elsewhere, folder, "libedgellm_cuda.so"))
        env = {name: value for name, value in os.environ.items() if name != "EDGELLM_CUDA_MODULE"}
        folder, name = os.path.split(os.path.abspath(program.PROGRAM))
        done = subprocess.run([name, "devices", "--json"], cwd=elsewhere, capture_output=True, text=True, check=True,
                              env={**env, "PATH": folder + os.pathsep + env["PATH"]})
        by_path = self.ok("devices", "--json", env=env)
        self.assertNotIn(FOLDER.name, done.stdout)
        self.assertEqual(json.loads(done.stdout)["gpu"], json.loads(by_path.text)["gpu"])

    def test_the_cuda_module_is_named_by_an_absolute_path(self):
        def reason(name):
            env = {**os.environ, "EDGELLM_CUDA_MODULE": name}
            return json.loads(self.ok("devices", "--json", env=env).text)["gpu"].get("reason", "")

        self.assertIn("EDGELLM_CUDA_MODULE is 'cuda.so', not an absolute path", reason("cuda.so"))
        self.assertIn("/none/cuda.so", reason("/none/cuda.so"))
        self.assertNotIn("EDGELLM_CUDA_MODULE is", reason(""))

    def test_instruction_sets_are_capped(self):
        best = json.loads(self.ok("devices", "--json").text)["devices"][0]["isa"]
        intel = platform.machine() == "x86_64"
        of_kind = ("scalar", "avx2", "avx512") if intel else ("scalar", "neon")
        for isa in of_kind:
            used = json.loads(self.ok("bench", "-m", LLAMA, "-p", 2, "-n", 1, "-r", 1, "--isa", isa, "--json").text)["isa"]
            self.assertEqual(used, isa if of_kind.index(isa) < of_kind.index(best) else best)
        self.fails(1, "does not have", "logits", "-m", LLAMA, "--tokens", "1", "-o", scratch("no.npy"), "--isa",
                   "neon" if intel else "avx2")

    def test_models(self):
        models = json.loads(self.ok("models", "--json").text)["models"]
        keys = {"family", "size", "parameters", "context", "license", "architecture", "runs", "q4_k_m_bytes",
                "bytes_format", "bytes_from"}
        text = self.ok("models").text
        for model in models:
            self.assertEqual(set(model), keys)
            self.assertIn(f"{model['family']} {model['size']} ", text)
            self.assertIn(model["runs"], ("real file", "golden model", "expected"))
            self.assertIn(model["bytes_from"], ("geometry", "parameters", "file"))
            self.assertLess(model["q4_k_m_bytes"], 1.1 * model["parameters"])
        default = next(model for model in models if (model["family"], model["size"]) == ("SmolLM2", "135M"))
        self.assertEqual((default["runs"], default["architecture"]), ("real file", "llama"))
        self.fails(2, "unexpected", "models", "unexpected")


class Synth(Case):
    def synth(self, shape, *options):
        path = scratch(f"{shape}.gguf")
        self.assertEqual(self.ok("synth", shape, path, *options).out, b"")
        return path

    def test_a_mixture_of_experts_is_made(self):
        path = self.synth("olmoe-1b-7b", "--layers", 1, "--quant", "TQ1_0")
        lines = json.loads(self.ok("inspect", path, "--program", "--json").text)["program"]
        self.assertTrue(any("route" in line for line in lines))
        os.remove(path)

    def test_a_synthetic_model_runs(self):
        for quant in ("Q4_K_M", "Q4_0", "Q8_0", "F16", "IQ4_XS", "IQ4_NL", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4"):
            path = self.synth("smollm2-135m", "--layers", 2, "--quant", quant)
            result = json.loads(self.ok("bench", "-m", path, "-p", 4, "-n", 1, "-r", 1, "--json").text)
            self.assertGreater(result["decode_tokens_per_s"]["mean"], 0)
            shape, values = self.logits(path, [1, 2, 3])
            self.assertEqual(shape, (3, 49152))
            self.assertTrue(0.3 < statistics.pstdev(values[:49152]) < 3)

    def test_weights_are_normal(self):
        path = self.synth("smollm2-135m", "--layers", 1, "--quant", "F16")
        array = scratch("q.npy")
        self.ok("inspect", path, "--tensor", "blk.0.attn_q.weight", "-o", array)
        shape, values = read_npy(array)
        self.assertEqual(shape, (576, 576))
        self.assertAlmostEqual(statistics.fmean(values) * 24, 0, places=1)
        self.assertAlmostEqual(statistics.pstdev(values) * 24, 1, places=1)
        within = sum(abs(value) * 24 < 1 for value in values) / len(values)
        self.assertAlmostEqual(within, 0.683, places=1)

    def test_same_seed_same_file(self):
        def content(*options):
            with open(self.synth("smollm2-135m", "--layers", 1, *options), "rb") as file:
                return file.read()

        self.assertEqual(content("--seed", 5), content("--seed", 5))
        self.assertNotEqual(content("--seed", 5), content("--seed", 6))

    def test_mixture_and_shape(self):
        path = self.synth("qwen3-0.6b", "--layers", 8)
        data = json.loads(self.ok("inspect", path, "--json").text)
        formats = {tensor["name"]: tensor["format"] for tensor in data["tensors"]}
        self.assertEqual(formats["token_embd.weight"], "Q6_K")  # tied
        self.assertEqual([formats[f"blk.{i}.ffn_down.weight"] for i in range(8)],
                         ["Q6_K", "Q4_K", "Q4_K", "Q6_K", "Q4_K", "Q4_K", "Q6_K", "Q6_K"])
        self.assertEqual(formats["blk.1.attn_v.weight"], "Q4_K")
        self.assertEqual(formats["blk.0.attn_q_norm.weight"], "F32")
        self.assertEqual(data["metadata"]["qwen3.attention.key_length"], 128)
        self.assertEqual(data["metadata"]["tokenizer.ggml.model"], "none")
        os.unlink(path)

    def test_norms_after_and_windows(self):
        self.assertIn("tied, window 512\n", self.ok("synth", "--list").text)
        path = self.synth("gemma-3-1b", "--layers", 1)
        data = json.loads(self.ok("inspect", path, "--json").text)
        names = {tensor["name"] for tensor in data["tensors"]}
        self.assertLessEqual({"blk.0.post_attention_norm.weight", "blk.0.post_ffw_norm.weight"}, names)
        self.assertEqual(data["metadata"]["gemma3.attention.sliding_window"], 512)
        result = json.loads(self.ok("bench", "-m", path, "-p", 2, "-n", 2, "-d", 4, "-r", 1, "--json").text)
        self.assertGreater(result["decode_tokens_per_s"]["median"], 0)
        os.unlink(path)

    def test_what_cannot_be_done(self):
        self.assertIn("llama-3.1-8b", self.ok("synth", "--list").text)
        self.fails(2, "no shape 'gpt-9'", "synth", "gpt-9", scratch("x.gguf"))
        self.fails(2, "shape", "synth", "llama-3.2-1b")
        self.fails(2, "--quant", "synth", "llama-3.2-1b", scratch("x.gguf"), "--quant", "Q9")
        self.fails(1, "IQ2_XS can be read, but not written", "synth", "llama-3.2-1b", scratch("x.gguf"),
                   "--quant", "iq2_xs")
        self.fails(1, "nowhere", "synth", "llama-3.2-1b", scratch("nowhere/x.gguf"))
        self.fails(1, "/dev/full", "synth", "smollm2-135m", "/dev/full", "--layers", 1)


if __name__ == "__main__":
    run_tests(sys.modules["__main__"])
