"""reduce.py RECORDED PROGRAM MODEL: makes the small files here of what was recorded.

RECORDED holds text64.tokens.npy and text64.logits.npy (float16 [64, vocabulary], of the model dequantized to float32
and run by the original implementation) and text.txt. logits.json gets some rows, and of each the best columns, some
others and the logarithm of the sum of all exponentials. excerpt.txt gets the beginning of the text, excerpt.json its
perplexity by PROGRAM's reference kernels, which logits.json checks.
"""
import ast
import json
import math
import os
import random
import struct
import subprocess
import sys

N_TOKENS, ROWS = 48, (0, 7, 15, 26, 36, 47)
BEST, OTHERS = 256, 64
EXCERPT_BYTES, CONTEXT = 4300, 256


def read_array(path):
    """-> (shape, values)"""
    with open(path, "rb") as file:
        data = file.read()
    end = 10 + struct.unpack("<H", data[8:10])[0]
    header = ast.literal_eval(data[10:end].decode())
    kind = {"<f2": "<e", "<i4": "<i", "<i8": "<q"}[header["descr"]]
    return header["shape"], [value for value, in struct.iter_unpack(kind, data[end:])]


def reduced(row, logits):
    order = sorted(range(len(logits)), key=logits.__getitem__, reverse=True)
    columns = sorted(order[:BEST] + random.Random(row).sample(order[BEST:], OTHERS))
    best = logits[order[0]]
    return {"row": row, "columns": columns, "logits": [round(logits[i], 4) for i in columns],
            "log_sum_exp": round(best + math.log(sum(math.exp(x - best) for x in logits)), 5)}


def beside(name):
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), name)


def write(name, text):
    with open(beside(name), "w", encoding="utf-8") as file:
        file.write(text)


recorded, program, model = sys.argv[1:]
_, tokens = read_array(os.path.join(recorded, "text64.tokens.npy"))
(_, width), logits = read_array(os.path.join(recorded, "text64.logits.npy"))
rows = [reduced(row, logits[row * width:(row + 1) * width]) for row in ROWS]
write("logits.json", json.dumps({"tokens": tokens[:N_TOKENS], "rows": rows}) + "\n")

with open(os.path.join(recorded, "text.txt"), encoding="ascii") as file:
    write("excerpt.txt", file.read(EXCERPT_BYTES))
command = [program, "perplexity", "-m", model, "-f", beside("excerpt.txt"), "-c", str(CONTEXT), "--json"]
done = subprocess.run(command + ["--kernels", "reference", "--kv", "f32"], check=True, stdout=subprocess.PIPE)
answer = json.loads(done.stdout)
excerpt = {"context": CONTEXT, "scored": answer["tokens"], "perplexity": answer["perplexity"]}
write("excerpt.json", json.dumps(excerpt) + "\n")
