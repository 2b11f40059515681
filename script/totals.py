"""Adds up what the test programs report.

totals.py collect STAGE TESTLOG.json...  one line per program of Meson's logs: "passed failed skipped<TAB>name: why"
totals.py sum FILE                       names what failed and was skipped, prints the totals, fails if any failed
"""
import json
import re
import sys

TOTALS = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.MULTILINE)


def counts(test):
    """A program that prints totals counts by them; any other is one test. A crash counts as a failure at least once."""
    printed = TOTALS.findall(test.get("stdout", ""))
    passed, failed, skipped = map(int, printed[-1]) if printed else (0, 0, 0)
    result = test["result"]
    if result == "SKIP" and not printed:
        skipped = 1
    elif result in ("OK", "EXPECTEDFAIL") and not printed:
        passed = 1
    elif result not in ("OK", "EXPECTEDFAIL", "SKIP") and failed == 0:
        failed = 1
    return passed, failed, skipped


def reasons(test):
    """The lines by which a program says why it skipped something."""
    text = test.get("stdout", "") + "\n" + test.get("stderr", "")
    lines = [line.strip() for line in text.splitlines() if re.match(r"\s*skip", line, re.IGNORECASE)]
    return "; ".join(dict.fromkeys(lines)) or "no reason given"


def collect(stage, logs):
    for log in logs:
        with open(log, encoding="utf-8") as lines:
            for test in map(json.loads, lines):
                passed, failed, skipped = counts(test)
                why = f" ({reasons(test)})" if skipped else ""
                name = test["name"].split(" / ")[-1]
                print(f"{passed} {failed} {skipped}\t{stage}: {name}{why}")


def total(path):
    sums = [0, 0, 0]
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            numbers, name = line.rstrip("\n").split("\t", 1)
            numbers = list(map(int, numbers.split()))
            sums = [a + b for a, b in zip(sums, numbers)]
            if numbers[1]:
                print(f"failed: {name}")
            if numbers[2]:
                print(f"skipped: {name}")
    print("{} passed, {} failed, {} skipped".format(*sums))
    return 1 if sums[1] or not sums[0] else 0


if __name__ == "__main__":
    if sys.argv[1] == "collect":
        collect(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(total(sys.argv[2]))
