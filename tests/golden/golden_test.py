"""golden_test.py PROGRAM FOLDER: vocabularies, templates and programs of the folder, through the program, against
what was recorded. `edgellm inspect --program arch/NAME.gguf > programs/NAME.txt` records a program anew."""
import glob
import json
import os
import subprocess
import sys
import tempfile

PROGRAM, FOLDER = sys.argv[1:3]
SEPARATOR = "\n__ggml_vocab_test__\n"
counts = {True: 0, False: 0}


def check(name, good, why):
    counts[bool(good)] += 1
    if not good:
        print(f"FAILED {name}: {why}")


def run(*args, stdin=""):
    return subprocess.run([PROGRAM, *args], input=stdin.encode(), capture_output=True, timeout=60)


def json_lines(command, model, items, *options):
    done = run(command, "-m", model, "--jsonl", *options, stdin="".join(json.dumps(item) + "\n" for item in items))
    if done.returncode:
        return [done.stderr.decode()] * len(items)
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def check_vocabulary(model):
    """texts.inp: texts; NAME.out: a line of ids for each."""
    base = model[:-len(".gguf")]
    texts = read(os.path.join(os.path.dirname(model), "texts.inp")).split(SEPARATOR)
    wanted = [list(map(int, line.split())) for line in read(base + ".out").split("\n")[:len(texts)]]
    got = json_lines("tokenize", model, texts, "--no-bos")
    back = json_lines("detokenize", model, wanted)
    check(f"{base}: the number of lines", len(texts) == len(wanted) == len(got) == len(back), f"{len(got)}, {len(back)}")
    for text, ids, tokens, said in zip(texts, wanted, got, back):
        check(f"{base}: {text!r}", tokens == ids, f"{tokens} for {ids}")
        check(f"{base}: {ids}", said == text, f"{said!r} for {text!r}")


def check_template(source, scratch):
    """NAME.json: cases with variables and either the text or the error."""
    for case in json.loads(read(source[:-len("jinja")] + "json")):
        variables = os.path.join(scratch, "variables.json")
        with open(variables, "w", encoding="utf-8") as file:
            json.dump(case["vars"], file)
        done = run("template", "--template", source, "--vars", variables, "--now", "2025-07-26T12:00:00")
        text, error = done.stdout.decode(), done.stderr.decode()
        name = f"{source}: {case['case']}"
        if "expected" in case:
            check(name, done.returncode == 0 and text == case["expected"], f"{text!r} {error} for {case['expected']!r}")
        else:  # the template's own sentences come out as they are; for other errors there are other words
            own = case["error"] not in read(source) or case["error"] in error
            check(name, done.returncode == 1 and not text and error and own, f"{done.returncode}: {text!r} {error}")


def check_program(model):
    """programs/NAME.txt: the ops of arch/NAME.gguf."""
    name = os.path.basename(model)[:-len(".gguf")]
    said = run("inspect", "--program", model).stdout.decode()
    check(f"the program of {name}", said == read(os.path.join(FOLDER, "programs", name + ".txt")), said)


if __name__ == "__main__":
    for path in sorted(glob.glob(os.path.join(FOLDER, "vocab", "*.gguf"))):
        check_vocabulary(path)
    with tempfile.TemporaryDirectory(prefix="edgellm-golden-") as folder:
        for path in sorted(glob.glob(os.path.join(FOLDER, "templates", "*.jinja"))):
            check_template(path, folder)
    for path in sorted(glob.glob(os.path.join(FOLDER, "arch", "*.gguf"))):
        check_program(path)
    print(f"{counts[True]} passed, {counts[False]} failed, 0 skipped")
    sys.exit(1 if counts[False] or not counts[True] else 0)
