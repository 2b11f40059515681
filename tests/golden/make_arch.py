#!/usr/bin/env python3
"""make_arch.py FOLDER [NAME...]: tiny random models of every architecture, with their original's logits.

A developer's tool, for the proof that a new architecture comes with; needs the Python packages numpy, torch and
transformers (5.23). For each NAME (--list) it writes NAME.gguf (float16 weights, no vocabulary), NAME.tokens.npy
(int32 ids), NAME.npy (float32 logits [tokens, vocab]) and NAME.config.json (the original's configuration). Dimensions
are those of the options, or drawn from the seed with --random.
"""
import argparse
import json
import math
import os
import random
import re
import sys

import numpy as np
import torch
import transformers

from make_arch_configs import VARIANTS, make_config
from make_arch_gguf import make_metadata, make_tensors, write_gguf


def fill(model, config, generator):
    """Random values that float16 has, each kind with a size that keeps activations near 1 and every part at work."""
    zero_based = config.model_type in ("gemma2", "gemma3_text", "nemotron", "qwen3_5_text")
    for name, value in model.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("A_log"):
            new = 0.5 * noise
        elif re.search(r"norm.*weight$|layer_scalar|mamba\.D$", name):
            centre = 0.0 if zero_based and "linear_attn" not in name else 1.0
            new = centre + 0.2 * noise
        elif "embed_tokens" in name:
            new = 0.3 * noise
        elif name.endswith(("bias", "sinks")):
            new = 0.3 * noise
        elif "conv" in name and value.dim() == 3:
            new = noise / math.sqrt(value.shape[-1])
        else:  # [..., outputs, inputs]; gpt-oss has its experts the other way round
            swapped = config.model_type == "gpt_oss" and "experts" in name
            new = noise / math.sqrt(value.shape[-2 if swapped else -1])
        value.copy_(new.half().float())
    if config.tie_word_embeddings:
        model.tie_weights()


def make(name, variant, d, seed, n_tokens, folder):
    config = make_config(variant, d)
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    config.architectures = [type(model).__name__]
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, d.vocab, (1, n_tokens), generator=generator)
    with torch.no_grad():
        fill(model, config, generator)
        logits = model(input_ids=tokens, use_cache=False).logits[0].float().numpy()
    base = os.path.join(folder, name)
    write_gguf(base + ".gguf", make_metadata(name, variant, config), make_tensors(variant, config, model.state_dict()))
    np.save(base + ".tokens.npy", tokens[0].numpy().astype(np.int32))
    np.save(base + ".npy", logits)
    settings = {key: value for key, value in json.loads(config.to_json_string(use_diff=False)).items()
                if key not in ("transformers_version", "_name_or_path")}
    with open(base + ".config.json", "w", encoding="utf-8") as file:
        json.dump(settings, file, indent=1, sort_keys=True)


DEFAULTS = {"layers": 2, "width": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "ffn": 96, "vocab": 128, "experts": 4,
            "experts_used": 2, "window": 16}


def drawn(rng):
    heads = rng.choice((2, 3, 4, 6, 8))
    experts = rng.choice((4, 5, 8))
    return {"width": heads * rng.choice((16, 24, 32)), "heads": heads,
            "kv_heads": rng.choice([n for n in range(1, heads + 1) if heads % n == 0]),
            "head_dim": rng.choice((16, 32, 48, 64)), "ffn": rng.choice((32, 80, 128, 192)),
            "vocab": rng.randrange(100, 300), "experts": experts, "experts_used": rng.randrange(1, experts),
            "window": rng.randrange(5, 30)}


def dimensions(variant, options, rng):
    values = {**DEFAULTS, **variant.dims}
    if options.random:
        values.update(drawn(rng))
    given = {key: value for key, value in vars(options).items() if key in DEFAULTS and value is not None}
    d = argparse.Namespace(**{**values, **given})
    if "all_heads" in variant.flags:
        d.kv_heads = d.heads
    if not variant.own_head_dim:
        if "width" in given:
            d.head_dim = d.width // d.heads
        d.width = d.heads * d.head_dim
    return d


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="where the files go")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("names", nargs="*", help="all if none is given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--random", action="store_true", help="draw the dimensions from the seed")
    for key in DEFAULTS:
        parser.add_argument("--" + key.replace("_", "-"), type=int)
    options = parser.parse_args()
    if options.list:
        print("\n".join(VARIANTS))
        return 0
    names = options.names or list(VARIANTS)
    unknown = [name for name in names if name not in VARIANTS]
    if unknown or not options.folder:
        parser.error(f"unknown: {', '.join(unknown)}; see --list" if unknown else "a folder is needed")
    os.makedirs(options.folder, exist_ok=True)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    failed = 0
    for name in names:
        d = dimensions(VARIANTS[name], options, random.Random(f"{options.seed} {name}"))
        try:
            make(name, VARIANTS[name], d, options.seed, options.tokens, options.folder)
        except Exception as error:  # say it, and go on with the others
            failed += 1
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    print(f"{len(names) - failed} made, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
