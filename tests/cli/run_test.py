"""run_test.py PROGRAM TINY-MODEL GOLDEN/ARCH: answers and conversations of `edgellm run`."""
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import termios
import time

import program
from case import Case, patient_model, run_tests, scratch, with_vocabulary
from program import LLAMA, REFERENCE, TINY, rows, run, start

# No end of the turn.
ENDLESS = ("-c", 100000, "--logit-bias", "0=-inf", "--logit-bias", "2=-inf")


class Run(Case):
    def answer(self, *options):
        return self.ok("run", "-m", TINY, *REFERENCE, *options).out

    def greedy(self, ids, n):
        """The likeliest continuation, told from logits; ends before the end of the turn."""
        for _ in range(n):
            row = rows(*self.logits(TINY, ids, *REFERENCE))[-1]
            best = max(range(len(row)), key=row.__getitem__)
            if best in (0, 2):
                break
            ids = ids + [best]
        return ids

    def shown(self, ids):
        out = self.ok("detokenize", "-m", TINY, "--jsonl", stdin=json.dumps(ids)).text
        return json.loads(out)

    def test_greedy_says_the_likeliest(self):
        ids = self.tokens("hello")
        wanted = self.shown(self.greedy(ids, 6)[len(ids):])
        got = self.answer("--raw", "-p", "hello", "--temp", 0, "-n", 6).decode()
        self.assertEqual(got.rstrip("\n"), wanted.rstrip("\n"))

    def test_chat_template_and_messages(self):
        messages = scratch("chat.json", '[{"role": "system", "content": "hell"}, {"role": "user", "content": "hello"}]')
        by_file = self.answer("--messages", messages, "--seed", 3, "-n", 20)
        self.assertEqual(by_file, self.answer("-p", "hello", "--system", "hell", "--seed", 3, "-n", 20))
        prompt = self.ok("template", "-m", TINY, "--messages", messages).text
        rest = prompt.removeprefix("<|im_start|>")  # --raw begins with that token anyway
        self.assertEqual(by_file, self.answer("--raw", "--parse-special", "-p", rest, "--seed", 3, "-n", 20))

    def test_seeds(self):
        one = self.answer("-p", "hello", "--seed", 1, "-n", 40)
        self.assertEqual(one, self.answer("-p", "hello", "--seed", 1, "-n", 40, "--batch", 3))
        self.assertNotEqual(one, self.answer("-p", "hello", "--seed", 2, "-n", 40))
        self.assertIn("seed", run("run", "-m", TINY, "-p", "hello", "-n", 2).err)

    def test_lines_are_a_conversation(self):
        once = self.answer("-p", "hello", "--temp", 0, "-n", 8, "-c", 128)
        twice = self.ok("run", "-m", TINY, *REFERENCE, "--temp", 0, "-n", 8, "-c", 128,
                        stdin="hello\n\n/clear\nhello\n/quit\nnever read\n").out
        self.assertEqual(twice.replace(b"\n", b""), 2 * once.replace(b"\n", b""))

    def test_a_chat_reads_the_whole_conversation(self):
        # Recurrent models and windowed ones cannot go back to where two conversations begin to differ.
        for model in (patient_model(), with_vocabulary("lfm2"), with_vocabulary("olmo3")):
            options = ["-m", model, *REFERENCE, "--temp", 0, "-n", 90]
            answers = self.ok("run", *options, stdin="hello\nsecond\n/clear\nhello\n").text
            first = self.ok("run", *options, "-p", "hello").text
            conversation = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": first[:-1]},
                            {"role": "user", "content": "second"}]
            messages = scratch("conversation.json", json.dumps(conversation))
            second = self.ok("run", *options, "--messages", messages).text
            self.assertEqual(answers, first + second + first, model)

    def test_a_chat_whose_beginning_was_dropped_reads_it_again(self):
        options = ["-m", patient_model(), *REFERENCE, "--temp", 0, "-n", 90, "-c", 128, "--cache-policy", "sinks"]
        answers = self.ok("run", *options, stdin="hello\nhello\n/clear\nhello\n").text
        first = self.ok("run", *options, "-p", "hello").text
        self.assertTrue(answers.startswith(first) and answers.endswith(first))

    def test_stops(self):
        whole = self.answer("-p", "hello", "--seed", 4, "-n", 30).decode(errors="replace")
        stop = whole[5:7]
        cut = self.answer("-p", "hello", "--seed", 4, "-n", 30, "--stop", stop).decode(errors="replace")
        self.assertEqual(cut.rstrip("\n"), whole[:whole.index(stop)].rstrip("\n"))
        self.assertLess(len(self.answer("-p", "hello", "--seed", 4, "-n", 5)), len(whole.encode()))

    def test_sampling_options(self):
        prompt = ["-p", "hello", "--seed", 5, "-n", 40]
        usual = self.answer(*prompt, "--temp", 4)
        for option in (["--typical-p", 0.1], ["--top-n-sigma", 0.5], ["--xtc-probability", 1, "--xtc-threshold", 0.001],
                       ["--dynatemp-range", 3.9, "--dynatemp-exponent", 4], ["--samplers", "temperature,min_p"],
                       ["--mirostat-tau", 1, "--mirostat-eta", 0.5], ["--logit-bias", "100:50"]):
            self.assertNotEqual(self.answer(*prompt, "--temp", 4, *option), usual, option)
        self.assertEqual(self.answer(*prompt, "--temp", 4, "--samplers", "penalties,dry,top_n_sigma,top_k,typical_p,"
                                     "top_p,min_p,xtc,temperature"), usual)

    def test_repetitions(self):
        ids = self.tokens("abc", "--no-bos")
        says_abc = [f"--logit-bias={token}={bias}" for token, bias in zip(ids, (60, 40, 20))]
        dry = ["--temp", 0, "-n", 12, "-p", "x", *says_abc, "--dry-multiplier", 1000, "--dry-base", 1,
               "--dry-allowed-length", 2, "--dry-penalty-last-n", 100]
        plain = self.answer("--temp", 0, "-n", 12, "-p", "x", *says_abc).decode()
        self.assertEqual(plain, "a" * 12 + "\n")
        self.assertTrue(self.answer(*dry).startswith(b"aaab"))  # a third after two of a kind is the first repetition
        self.assertEqual(self.answer(*dry, "--dry-breaker", "x", "--dry-breaker", "a").decode(), plain)

    def test_sampling_options_that_make_no_sense(self):
        for option, value, name in (
                ("--temp", -1, "temperature"), ("--typical-p", 2, "typical_p"), ("--top-n-sigma", -1, "top_n_sigma"),
                ("--xtc-probability", 2, "xtc_probability"), ("--xtc-threshold", -1, "xtc_threshold"),
                ("--dynatemp-range", -1, "dynatemp_range"), ("--dynatemp-exponent", -1, "dynatemp_exponent"),
                ("--mirostat-tau", -1, "mirostat_tau"), ("--mirostat-eta", -1, "mirostat_eta"),
                ("--dry-multiplier", -1, "dry_multiplier"), ("--dry-base", 0, "dry_base"),
                ("--dry-allowed-length", 0, "dry_allowed_length"),
                ("--samplers", "top_k,magic", "magic"), ("--logit-bias", "100000:1", "100000")):
            self.fails(1, name, "run", "-m", TINY, "-p", "x", option, value)
        for option in ("--repeat-last-n", "--dry-penalty-last-n"):
            self.fails(2, "whole number", "run", "-m", TINY, "-p", "x", option, -1)
        self.fails(1, "dry_breakers", "run", "-m", TINY, "-p", "x", "--dry-multiplier", 1, "--dry-breaker", "x" * 65)

    def test_what_cannot_be_done(self):
        self.fails(2, "--logit-bias", "run", "-m", TINY, "-p", "x", "--logit-bias", "2")
        self.fails(2, "--raw", "run", "-m", TINY, "--raw", "--system", "x", "-p", "x")
        self.fails(2, "--messages", "run", "-m", TINY, "-p", "x", "--messages", "x")
        self.fails(1, "vocabulary", "run", "-m", LLAMA, "-p", "x")
        self.fails(1, "128", "run", "-m", TINY, "-p", "x" * 500)
        self.fails(1, "missing.json", "run", "-m", TINY, "--messages", scratch("missing.json"))
        self.fails(1, "messages", "run", "-m", TINY, "--messages", scratch("object.json", "{}"))
        nobody = scratch("nobody.json", '[{"role": "nobody", "content": ""}]')
        self.fails(1, "who?", "run", "-m", TINY, "--messages", nobody)
        self.fails(1, "temperature", "run", "-m", TINY, "-p", "x", "--temp", "-1")
        self.fails(2, "isa", "run", "-m", TINY, "-p", "x", "--isa", "z80")
        self.fails(2, "--device", "run", "-m", TINY, "-p", "x", "--device", "tpu")

    def test_interrupt_stops_an_answer(self):
        with start("run", "-m", patient_model(), "-p", "hello", *ENDLESS) as process:
            self.assertNotEqual(process.stdout.read(1), b"")
            process.send_signal(signal.SIGINT)
            process.stdout.read()
            self.assertEqual(process.wait(60), 1)
            self.assertIn(b"stopped", process.stderr.read())


class Person:
    """Someone at a terminal."""

    def __init__(self, *args):
        self.terminal, other = os.openpty()
        self.process = subprocess.Popen([program.PROGRAM, *map(str, args)], stdin=other, stdout=other, stderr=other,
                                        start_new_session=True, preexec_fn=self.own,
                                        env={**os.environ, "TERM": "xterm"})
        os.close(other)
        self.unread = b""

    def at_prompt(self):
        """Waits until a line can be edited: Ctrl-C is a key then, no signal."""
        self.read_until("> ")
        end = time.monotonic() + 2  # it never is so without libedit
        while termios.tcgetattr(self.terminal)[3] & termios.ISIG and time.monotonic() < end:
            time.sleep(0.01)

    @staticmethod
    def own():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal

    def type(self, keys):
        os.write(self.terminal, keys.encode())

    def read_more(self):
        if not select.select([self.terminal], [], [], 20)[0]:
            raise AssertionError(f"nothing more came after {self.unread!r}")
        try:
            self.unread += os.read(self.terminal, 4096)
        except OSError as error:
            raise AssertionError(f"the program ended after {self.unread!r}") from error

    def read_until(self, text):
        while text.encode() not in self.unread:
            self.read_more()
        self.unread = self.unread.split(text.encode(), 1)[1]


class Interactive(Case):
    def test_chat_at_a_terminal(self):
        person = Person("run", "-m", patient_model(), *ENDLESS)
        person.at_prompt()
        person.type("hello\r")
        person.read_until("hello\r\n")
        if not person.unread:
            person.read_more()  # the answer has begun
        person.type("\x03")
        person.read_until("(stopped)")
        person.at_prompt()
        person.type("half a line\x03")
        person.read_until("half a line")
        person.at_prompt()
        person.type("/help\r")
        person.read_until("Ctrl-D")
        person.at_prompt()
        person.type("\x04")
        person.read_until("seed")
        self.assertEqual(person.process.wait(60), 0)
        os.close(person.terminal)


if __name__ == "__main__":
    run_tests(sys.modules["__main__"])
