"""make_vocab.py [FOLDER]: writes the small vocabularies of vocab/ (NAME.gguf) and the ids of their texts (NAME.out).

Each is trained here on a few lines of text, by the plain rule: again and again the commonest pair of neighbours becomes
a token. The ids come from a plain encoder, which shares nothing with the library but the rules. They were compared with
those of the Python packages tokenizers (byte-level and character BPE) and sentencepiece for the same vocabularies.
"""
import os
import re
import struct
import sys
import unicodedata
from collections import Counter

HERE = os.path.dirname(os.path.abspath(__file__))
SEPARATOR = "\n__ggml_vocab_test__\n"
CORPUS = """
A robot that sees and speaks needs a model which answers in time. The model is read once, in chunks, straight to the place
where it stays; then nothing allocates, and the answer comes token by token. Its memory is planned: weights, cache and
activations have their regions, and the plan says what fits before anything large is asked for. It's the user's robot, so
it'll do what they've said, and it won't do what they haven't. I'm sure you're right that we'd better count: 1 2 3 10 12 100
123 1000 12345 2024 2025 2026 3.14159 0x7f 65536.

for (int i = 0; i < n; ++i) {
    if (x[i] == 0) continue;
    total += x[i] * weight[i];  // the i-th value
}
return total / (n > 0 ? n : 1);

edgellm_model_load(path, &options, &model); edgellm_context_create(model, &options, &context);
The user's model, the robot's model, THE MODEL, the model. HelloWorld helloWorld HELLO hello world.

Über die Äpfel und Öfen: große Türen, schöne Bücher, naïve Gäste, café, déjà vu, übermorgen.
Привет, мир! Робот видит и говорит. Мир и мы.
你好,世界。机器人看见并说话。你好。 日本語のテキスト。 한국어 텍스트.
नमस्ते दुनिया, हिन्दी में लिखा। ½ ¼ ² ³
"""
MERGES = 300


def letters(test):
    """The characters of some categories, as what stands between the brackets of a class."""
    ranges, codes = [], [c for c in range(0x30000) if test(unicodedata.category(chr(c)))]
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\U{a:08x}-\\U{b:08x}" for a, b in ranges)


L, N, M, P = (letters(lambda c, first=first: c[0] == first) for first in "LNMP")
GPT2 = f"'s|'t|'re|'ve|'m|'ll|'d| ?[{L}]+| ?[{N}]+| ?[^\\s{L}{N}]+|\\s+(?!\\S)|\\s+"
CONTRACTIONS, SPACES = "(?:(?i:'s|'t|'re|'ve|'m|'ll|'d))", r"\s*[\r\n]+|\s+(?!\S)|\s+"
PRE_TOKENIZERS = {  # each pattern cuts the pieces of the one before
    "gpt-2": [GPT2],
    "smollm": [f"[{N}]", GPT2],
    "falcon": [f"[{P}$+<=>^~|`]+", GPT2],
    "llama-bpe": [f"{CONTRACTIONS}|[^\\r\\n{L}{N}]?[{L}]+|[{N}]{{1,3}}| ?[^\\s{L}{N}]+[\\r\\n]*|{SPACES}"],
    "qwen35": [f"{CONTRACTIONS}|[^\\r\\n{L}{N}]?[{L}{M}]+|[{N}]| ?[^\\s{L}{M}{N}]+[\\r\\n]*|{SPACES}"],
    "deepseek-coder": [r"[\r\n]", f"\\s?[{L}]+", f"\\s?[{P}]+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", f"[{N}]"],
}
# The same after writing bytes in their alphabet, which has digits that are none in the text.
AFTER_WRITING = {"falcon": ["[0-9\u00b9\u00b2\u00b3\u00bc-\u00be]+", "[0-9][0-9][0-9]"]}


def split(patterns, text):
    pieces = [text]
    for pattern in map(re.compile, patterns):
        cut = []
        for piece in pieces:
            at = 0
            for match in pattern.finditer(piece):
                cut += [piece[at:match.start()], match.group()]
                at = match.end()
            cut.append(piece[at:])
        pieces = [piece for piece in cut if piece]
    return pieces


def join(units, left, right):
    joined, at = [], 0
    while at < len(units):
        if units[at:at + 2] == [left, right]:
            joined.append(left + right)
            at += 2
        else:
            joined.append(units[at])
            at += 1
    return joined


def train(pieces, known):
    """The merges of `pieces`, each a list of units, that make a text which is not `known`. Ties: the lesser pair."""
    words, merges = Counter(map(tuple, pieces)), []
    while len(merges) < MERGES:
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        pairs = {pair: count for pair, count in pairs.items() if "".join(pair) not in known}
        if not pairs:
            break
        left, right = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append((left, right))
        known = known | {left + right}
        new = Counter()
        for word, count in words.items():
            new[tuple(join(list(word), left, right))] += count
        words = new
    return merges


def encode(units, ranks):
    """Merges the pair of the lowest rank, the leftmost of several, until there is none."""
    units = list(units)
    while True:
        pairs = [(ranks[pair], at) for at, pair in enumerate(zip(units, units[1:])) if pair in ranks]
        if not pairs:
            return units
        at = min(pairs)[1]
        units[at:at + 2] = [units[at] + units[at + 1]]


def byte_alphabet():
    plain = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}, plain + others


def byte_level(pre, texts):
    alphabet, order = byte_alphabet()
    patterns, ignores_merges = PRE_TOKENIZERS[pre], pre == "llama-bpe"

    def pieces(text):
        written = ("".join(alphabet[b] for b in piece.encode()) for piece in split(patterns, text))
        return [part for piece in written for part in split(AFTER_WRITING.get(pre, []), piece)]

    alone = [alphabet[b] for b in order]
    merges = train(map(list, pieces(CORPUS)), set(alone))
    tokens = alone + [left + right for left, right in merges]
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    ids = {token: i for i, token in enumerate(tokens)}
    out = []
    for text in texts:
        units = [u for p in pieces(text) for u in ([p] if ignores_merges and p in ids else encode(p, ranks))]
        out.append([ids[u] for u in units])
    metadata = [("model", "gpt2"), ("pre", pre), ("tokens", tokens), ("token_type", [1] * len(tokens)),
                ("merges", [" ".join(pair) for pair in merges]), ("add_bos_token", False)]
    return metadata, out


def character_tokens():
    """Control tokens, bytes, then what training gives, then single characters; and the merges."""
    text = CORPUS.replace(" ", "\u2581")
    pieces = re.findall("\u2581*[^\u2581\n]+|\u2581+|\n+", text)
    merges = train(map(list, pieces), set(text))
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokens += [left + right for left, right in merges] + sorted(set(text))
    return tokens, [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259), merges


def character_ids(units, ids):
    return [i for u in units for i in ([ids[u]] if u in ids else [3 + b for b in u.encode()])]


def characters(texts):
    """Byte-pair merges over the characters of a line; line breaks are looked up as a whole."""
    tokens, kinds, merges = character_tokens()
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    ids = {token: i for i, token in enumerate(tokens)}
    out = []
    for text in texts:
        lines = re.findall("[^\n]+|\n+", text.replace(" ", "\u2581"))
        out.append([i for line in lines for i in character_ids([line] if line[0] == "\n" and line in ids else
                                                               encode(line, ranks), ids)])
    metadata = [("model", "gemma4"), ("pre", "gemma4"), ("tokens", tokens), ("token_type", kinds),
                ("merges", [" ".join(pair) for pair in merges]), ("bos_token_id", 1), ("eos_token_id", 2),
                ("add_eos_token", True)]
    return metadata, out


def sentence_pieces(texts):
    """The same tokens with scores: the pair whose result has the highest one goes first, and a space before all."""
    tokens, kinds, merges = character_tokens()
    made = {left + right: rank for rank, (left, right) in enumerate(merges)}
    scores = [-float(made.get(token, len(merges) if kind == 1 else 0)) for token, kind in zip(tokens, kinds)]
    ids = {token: i for i, token in enumerate(tokens)}

    class Ranks(dict):  # any pair whose text is a token
        def __contains__(self, pair):
            return "".join(pair) in made

        def __getitem__(self, pair):
            return made["".join(pair)]

    out = [character_ids(encode(("\u2581" + text.replace(" ", "\u2581")) if text else "", Ranks()), ids) for text in texts]
    metadata = [("model", "llama"), ("pre", "default"), ("tokens", tokens), ("token_type", kinds), ("scores", scores),
                ("bos_token_id", 1), ("eos_token_id", 2), ("unknown_token_id", 0), ("add_bos_token", True)]
    return metadata, out


def gguf_string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_value(value):
    """The type and the bytes of a value."""
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, str):
        return 8, gguf_string(value)
    kind, pack = {str: (8, gguf_string), int: (5, lambda i: struct.pack("<i", i)),
                  float: (6, lambda f: struct.pack("<f", f))}[type(value[0])]
    return 9, struct.pack("<IQ", kind, len(value)) + b"".join(map(pack, value))


def write(base, metadata, ids):
    metadata = [("general.architecture", "llama")] + [("tokenizer.ggml." + key, value) for key, value in metadata]
    with open(base + ".gguf", "wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(metadata)))
        for key, value in metadata:
            kind, data = gguf_value(value)
            file.write(gguf_string(key) + struct.pack("<I", kind) + data)
    with open(base + ".out", "w", encoding="utf-8", newline="") as file:
        file.writelines(" ".join(map(str, line)) + "\n" for line in ids)


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "vocab")
    with open(os.path.join(HERE, "vocab", "texts.inp"), encoding="utf-8", newline="") as file:
        texts = file.read().split(SEPARATOR)
    for pre in PRE_TOKENIZERS:
        write(os.path.join(folder, "small-" + pre), *byte_level(pre, texts))
    write(os.path.join(folder, "small-chars"), *characters(texts))
    write(os.path.join(folder, "small-spm"), *sentence_pieces(texts))


if __name__ == "__main__":
    main()
