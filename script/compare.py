"""compare.py EDGELLM LLAMA_BENCH MODEL: measures both in turns and prints tokens/s, their medians and ratios.

Settings from the environment: THREADS (all processors), PROMPT (512 tokens), TOKENS (128), ROUNDS (3).
"""
import json
import os
import statistics
import subprocess
import sys

THREADS = os.environ.get("THREADS", str(len(os.sched_getaffinity(0))))
PROMPT, TOKENS = os.environ.get("PROMPT", "512"), os.environ.get("TOKENS", "128")
ROUNDS = int(os.environ.get("ROUNDS", "3"))


def measured(command):
    """What a program prints as JSON; one repetition, as the rounds repeat."""
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def ours(program, model):
    """(prefill, decode) tokens/s of edgellm."""
    result = measured([program, "bench", "-m", model, "-t", THREADS, "-p", PROMPT, "-n", TOKENS, "-r", "1", "--json"])
    return result["prefill_tokens_per_s"]["mean"], result["decode_tokens_per_s"]["mean"]


def theirs(program, model):
    """(prefill, decode) tokens/s of llama-bench, which reports one row for each."""
    rows = measured([program, "-m", model, "-t", THREADS, "-p", PROMPT, "-n", TOKENS, "-r", "1", "-o", "json"])
    return (next(row["avg_ts"] for row in rows if row["n_gen"] == 0),
            next(row["avg_ts"] for row in rows if row["n_prompt"] == 0))


def main(program, peer, model):
    """Runs the rounds, the two programs taking turns at being first."""
    results = {"edgellm": [], "peer": []}
    print(f"{os.path.basename(model)}, {THREADS} threads, prefill {PROMPT} and decode {TOKENS} tokens, in tokens/s")
    for number in range(ROUNDS):
        turns = [("edgellm", ours, program), ("peer", theirs, peer)]
        for name, measure, path in turns if number % 2 == 0 else reversed(turns):
            results[name].append(measure(path, model))
            prefill, decode = results[name][-1]
            print(f"round {number + 1}  {name:8} prefill {prefill:9.1f}  decode {decode:8.1f}", flush=True)
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in results.items()}
    for name, (prefill, decode) in medians.items():
        print(f"median   {name:8} prefill {prefill:9.1f}  decode {decode:8.1f}")
    prefill, decode = (mine / peer_s for mine, peer_s in zip(medians["edgellm"], medians["peer"]))
    print(f"ratio    edgellm/peer  prefill {prefill:.2f}  decode {decode:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
