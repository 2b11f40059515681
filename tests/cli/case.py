"""What the tests of the program share: a scratch folder, checks of status and output, and the end of a test program."""
import json
import os
import sys
import tempfile
import unittest

from program import TINY, read_npy, run

FOLDER = tempfile.TemporaryDirectory(prefix="edgellm-cli-")


def scratch(name, content=None):
    path = os.path.join(FOLDER.name, name)
    if content is not None:
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
    return path


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


def run_tests(module):
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    failed, skipped = len(result.failures) + len(result.errors), len(result.skipped)
    print(f"{result.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped", flush=True)
    sys.exit(1 if failed else 0)
