"""Does llama.cpp itself compute from an exported file what this program computes from the model? Token by token.

    pip install -r tests/golden/requirements.txt        gguf, numpy, safetensors and xllamacpp are enough
    cargo build --release
    python tests/golden/llama_cpp.py --trainer target/release/trainer [--case qwen2] [--type q8_0] [--keep FOLDER]

For each tiny model of this folder (and some made here: YaRN with betas of its own, a tokenizer that normalises, a model wide
enough for blocks of 256), as it is and with its adapter merged in, `trainer export` writes each `--type`. llama.cpp, which
the package `xllamacpp` brings, opens the file on the CPU with a key-value cache in f32 and gives the log-probability of each
token of a few answers. The table has the largest difference of one token's log-probability, in nats, from

    f32      `trainer score` of the file, where llama.cpp is given a copy whose numbers the package `gguf` wrote out as f32:
             llama.cpp rounds the inputs of a product as the format of the weights asks, and here it does not
    file     `trainer score` of the same file: the same weights, so what is left is how the products are computed
    model    `trainer score` of what was exported, in f32: what whoever takes the file gets
    ids      texts that llama.cpp cuts into other tokens
    control  how far the adapter, if one is merged in, moves the same tokens: a file without it would miss by so much
    held to  the bounds of f32, file and model, a dash where a column is only told; then what the notes of the export say

`lora` is the adapter alone (`--type lora`) beside the f16 file of its base. Where the exporter notes that llama.cpp computes
otherwise, it must, and do as the note says (refuse, or agree once it is given the options): a note that is no longer true is a
miss as well. Exit 1 on any miss.
"""
import argparse, json, os, pathlib, re, shutil, subprocess, sys, tempfile, time, unicodedata, urllib.error, urllib.request

import gguf
import numpy as np
import xllamacpp
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
# Largest difference of one token, in nats, for each column. The models are random with logits some 3 nats apart, where an
# error of the logits shows in full; a trained model is flatter.
#
# f32: the numbers of the file are the same on both sides and nothing is rounded on the way, so what is left is the order of
# sums: 2e-5 at most. A row, a head or a frequency in the wrong place is nats. This column has the sharpness.
# file: llama.cpp brings the inputs of each product into the format that goes with the weights: f16 (a relative error up to
# 2^-11) for F16, bf16 (2^-8) for BF16, 8 bits (2^-8 of the largest of a block of 32 or 256) for all others. Over some 20
# products f16 gives 0.01 and is held to 0.02; bf16 is 8 times as coarse. 8 bits give 0.3 at most, as a rule, and 0.53 at one
# token of one model, whose `f32` is 6e-6: two keys of a random model that are nearly equal.
# model: the weights are rounded too, by as much again: for bf16 twice `file`; f16 has room for it, and so has Q8_0. Four bits
# are a sixteenth of the largest of a block: on a random model that is nats, which shows nothing, so it is printed and not
# held. `f32` holds these files, and `readers.py` their blocks against the package `gguf`.
EXACT = 1e-4
BOUNDS = {
    "f16": {"f32": EXACT, "file": 0.02, "model": 0.02},
    "bf16": {"f32": EXACT, "file": 0.16, "model": 0.32},
    "q8_0": {"f32": EXACT, "file": 0.8, "model": 0.8},
    "q4_0": {"f32": EXACT, "file": 0.8, "model": None},
    "q4_k_m": {"f32": EXACT, "file": 0.8, "model": None},
    "lora": {"model": 0.02},
}
GOLDEN = ["llama-tied", "llama-untied", "llama-f16", "llama-bf16", "llama-head-dim", "llama-sharded", "llama-rope-linear", "llama-rope-llama3",
          "llama-rope-yarn", "mistral", "mistral-sliding-window", "qwen2", "qwen3", "tiny-chat"]
MADE = ["yarn-own-betas", "tiny-chat-nfc", "wide"]
# The 71 tokens of a golden model that has no tokenizer: bytes as byte-level BPE writes them, and a few merges.
MERGES = [("Ġ", "t"), ("i", "n"), ("o", "n"), ("Ġ", "a")]
LETTERS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "Ċ", "Ġ", *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,"[:62], *map("".join, MERGES)]
SHORT_TEMPLATE = "{% for message in messages %}{{ message['content'] + '<|im_end|>' }}{% endfor %}"
LETTER = 5  # in either vocabulary one character of ASCII
QWEN2_CUT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LONG = " ".join(["this agreement is in force", "on a date that both parties name", "and ends with a notice in writing"] * 2)
ROWS = [("a", "by"), ("Which law governs it.", "governing law"), (LONG, "termination, on a notice"), (LONG[::-1], "limitation of liability")]
CHAT_ROWS = [("a  2024 café, § 12.5%\n\n\tdon't 日本 🙂 x", "  termination "), ("Tax of 3141592 in the cafe\u0301", "governing law, 12 (b)")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainer", type=pathlib.Path, default=os.environ.get("TRAINER"), help="the binary, or TRAINER=")
    parser.add_argument("--case", action="append", choices=GOLDEN + MADE)
    parser.add_argument("--type", action="append", choices=list(BOUNDS))
    parser.add_argument("--keep", type=pathlib.Path, help="write here, and leave it")
    args = parser.parse_args()
    if not args.trainer:
        parser.error("which binary? --trainer target/release/trainer")
    print(f"{'case':24}{'weights':9}{'type':8}{'f32':>9}{'file':>9}{'model':>9}{'ids':>5}{'control':>9}{'tokens':>8}  held to")
    files, missed = 0, 0
    for name in args.case or GOLDEN + MADE:
        with tempfile.TemporaryDirectory() as scratch:
            folder = (args.keep or pathlib.Path(scratch)) / name
            folder.mkdir(parents=True)
            case = Case(name, folder, args.trainer.resolve())
            for adapted in (False, True):
                for kind in args.type or BOUNDS:
                    if kind == "lora" and not adapted:
                        continue
                    found, wrong = case.check(kind, adapted)
                    files, missed = files + 1, missed + bool(wrong)
                    number = lambda key: (f"{found[key]:9.0e}" if key == "f32" else f"{found[key]:9.4f}") if key in found else f"{'-':>9}"
                    print(f"{name:24}{'merged' if adapted else 'base':9}{kind:8}{number('f32')}{number('file')}{number('model')}{found.get('ids', '-'):>5}"
                          f"{number('control')}{found.get('tokens', '-'):>8}  {found.get('held', '')}", flush=True)
                    for line in wrong:
                        print(f"  MISS {line}", flush=True)
    print(f"{files} files, {missed} with a miss")
    return 1 if missed else 0


class Case:
    """A checkpoint folder with tokenizer and adapter, and the rows it is asked."""

    def __init__(self, name, folder, trainer):
        self.folder, self.trainer, self.scores = folder, trainer, {}
        self.base, self.adapter = folder / "base", folder / "base/adapter"
        golden = {"yarn-own-betas": "llama-rope-yarn", "tiny-chat-nfc": "tiny-chat", "wide": "tiny-chat"}.get(name, name)
        shutil.copytree(HERE / golden, self.base)
        is_chat = golden == "tiny-chat"
        if not is_chat:
            write_letters(self.base)
        if name == "yarn-own-betas":
            change(self.base / "config.json", lambda config: config["rope_parameters"].update(beta_fast=16.0, beta_slow=2.0))
        if name == "tiny-chat-nfc":
            cut = {"type": "Split", "pattern": {"Regex": QWEN2_CUT}, "behavior": "Isolated", "invert": False}
            level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
            change(self.base / "tokenizer.json", lambda file: file.update(
                normalizer={"type": "NFC"}, pre_tokenizer={"type": "Sequence", "pretokenizers": [cut, level]}))
        if name == "wide":
            write_wide(self.base)
        self.config = json.loads((self.base / "config.json").read_text())
        self.rows = ROWS + CHAT_ROWS * is_chat
        # What the template makes of a row, in the words of this script: llama.cpp must cut it into the ids of `trainer score`.
        turns = ("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>" if is_chat else "{}<|im_end|>{}<|im_end|>")
        self.texts = [turns.format(*row) for row in self.rows]
        for number, row in enumerate(self.rows):
            messages = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), row)]
            (folder / f"{number}.jsonl").write_text(json.dumps({"id": f"row-{number}", "messages": messages}) + "\n")

    def run(self, *words):
        done = subprocess.run([str(self.trainer), *map(str, words)], capture_output=True, text=True,
                              env={**os.environ, "TRAINER_CACHE": str(self.folder / "cache")})
        if done.returncode:
            raise Refused(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
        return done.stdout

    def score(self, number, *model):
        """Ids, and position, id and log-probability of each token of the answer."""
        if (number, model) not in self.scores:
            lines = self.run("score", "--tokens", "--json", "--device", "cpu", "--model", *model, self.folder / f"{number}.jsonl")
            self.scores[number, model] = json.loads(lines)
        return self.scores[number, model]

    def check(self, kind, adapted):
        out = self.folder / f"{'merged' if adapted else 'base'}-{kind}.gguf"
        what = [self.adapter, "--model", self.base] if adapted else [self.base]
        try:
            account = json.loads(self.run("export", *what, "--type", kind, "--out", out, "--kl-rows", "0", "--device", "cpu", "--json"))
            loaded, loras = out, []
            if kind == "lora":
                loaded, loras = self.folder / "plain.gguf", [out]
                self.run("export", self.base, "--type", "f16", "--out", loaded, "--kl-rows", "0", "--device", "cpu")
            found, wrong = self.compare(kind, adapted, loaded, loras, account.get("model_notes", []))
            # The one case that is there for blocks of 256.
            if kind == "q4_k_m" and self.config["hidden_size"] % 256 == 0 and "Q4_K" not in [part["format"] for part in account["tensors"]]:
                wrong.append(f"no tensor of this wide model is Q4_K: {account['tensors']}")
            return found, wrong
        except Refused as error:
            return {}, [f"{out.name}: {error}"]

    def compare(self, kind, adapted, loaded, loras, notes):
        model = (self.base, "--adapter", self.adapter) if adapted else (self.base,)
        expected = [self.score(number, *model) for number in range(len(self.rows))]
        noted, bounds = Noted(notes), BOUNDS[kind]
        enough = max(filter(None, bounds.values()))
        wrong = [f"a note this script has no test for: {note}" for note in noted.unknown]
        remarks = []
        # Beyond a window the file ends its context, and llama.cpp takes no longer text.
        beyond = [number for number, row in enumerate(expected) if noted.window and len(row["ids"]) > noted.window]
        asked = [number for number in range(len(expected)) if number not in beyond]
        ask = lambda reader: {number: reader.log_probabilities(expected[number]) for number in asked}
        off = lambda answers, *model: max(d for number, answer in answers.items() for d in differences(self.score(number, *model), answer))
        with LlamaCpp(loaded, loras, self.config) as reader:
            cut_otherwise = [number for number, text in enumerate(self.texts) if reader.cut(text) != expected[number]["ids"]]
            taken = [number for number in beyond if not reader.refuses(expected[number])]
            answers = ask(reader)
        if noted.window:
            remarks.append(f"window of {noted.window}: {len(beyond)} longer rows refused by llama.cpp")
            if taken:
                wrong.append(f"llama.cpp takes rows {taken}, which are longer than the window of {noted.window}")
        if noted.betas:
            without = off(answers, *model)
            remarks.append(f"YaRN betas: {without:.2f} off without the options of the note")
            if not without > enough:
                wrong.append(f"llama.cpp is said to compute otherwise and differs by {without:.3g}: {notes}")
            with LlamaCpp(loaded, loras, self.config, noted.betas) as reader:
                answers = ask(reader)
        composed = [number for number, text in enumerate(self.texts) if noted.normal_form and not unicodedata.is_normalized(noted.normal_form, text)]
        if noted.normal_form:
            remarks.append(f"{noted.normal_form}: {len(composed)} text not in that form")
        if cut_otherwise != composed:
            wrong.append(f"ids: llama.cpp cuts rows {cut_otherwise} otherwise, by the notes it is {composed or 'none'}")
        found = {"ids": len(cut_otherwise), "tokens": sum(len(expected[number]["tokens"]) for number in asked), "model": off(answers, *model)}
        if kind != "lora":
            found["file"] = off(answers, loaded)
            plain = self.folder / "plain-f32.gguf"
            write_plain(loaded, plain)
            with LlamaCpp(plain, [], self.config, noted.betas) as reader:
                found["f32"] = off(ask(reader), loaded)
        for column, bound in bounds.items():
            if bound is not None and not found.get(column, 0.0) <= bound:
                wrong.append(f"{column}: {found[column]:.3g} nats are above {bound:g}")
        if adapted:
            found["control"] = off(answers, self.base)
            if not found["control"] > enough:
                wrong.append(f"control: the adapter moves nothing ({found['control']:.3g})")
        found["held"] = " ".join("-" if bound is None else f"{bound:g}" for bound in bounds.values())
        found["held"] += "".join(f"; {remark}" for remark in remarks)
        return found, wrong


class Noted:
    """What the notes of an export say of llama.cpp."""

    def __init__(self, notes):
        self.unknown, self.betas, self.window, self.normal_form = [], None, None, None
        for note in notes:
            if found := re.search(r"beta_fast = (\S+) and beta_slow = (\S+) here", note):
                self.betas = tuple(map(float, found.groups()))
            elif found := re.search(r"sliding window of (\d+) tokens", note):
                self.window = int(found.group(1))
            elif found := re.search(r"Unicode form (\w+)", note):
                self.normal_form = found.group(1)
            else:
                self.unknown.append(note)


class LlamaCpp:
    """llama.cpp with one file open, on the CPU with one thread, asked over its own server on 127.0.0.1."""

    def __init__(self, path, loras, config, betas=None):
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.port, params.hostnames = config["max_position_embeddings"] + 256, 1, 0, ["127.0.0.1"]
        params.warmup, params.fit_params, params.verbosity, params.n_gpu_layers = False, False, -1, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        # Its default keeps keys and values in f16; what is asked here is the file.
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(lora), 1.0) for lora in loras]
        if betas:
            params.yarn_beta_fast, params.yarn_beta_slow = betas
        try:
            self.server = xllamacpp.Server(params)
        except Exception as error:  # the package raises whatever llama.cpp said
            raise Refused(f"llama.cpp does not open it: {error}") from error
        address = str(self.server.listening_address)
        self.address = address if address.startswith("http") else f"http://{address}"
        self.vocabulary = config["vocab_size"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        del self.server

    def ask(self, path, body):
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(), {"content-type": "application/json"})
        for _ in range(100):
            try:
                return json.loads(urllib.request.urlopen(request, timeout=60).read())
            except urllib.error.HTTPError as error:
                last = f"{error.code}: {error.read().decode(errors='replace')}"
                if error.code != 503:  # still loading
                    break
                time.sleep(0.1)
            except OSError as error:  # not listening yet
                last = error
                time.sleep(0.1)
        raise Refused(f"llama.cpp does not answer: {last}")

    def refuses(self, row):
        try:
            self.log_probabilities(row)
        except Refused as error:
            return "context size" in str(error)
        return False

    def cut(self, text):
        return self.ask("/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]

    def log_probabilities(self, row):
        """Of each token of the answer: the server tells those of the token that comes next, so one prompt for each."""
        positions = [token["position"] for token in row["tokens"]]
        answers = self.ask("/completion", {
            "prompt": [row["ids"][:position] for position in positions], "n_predict": 1, "n_probs": self.vocabulary,
            "temperature": 0.0, "samplers": [], "cache_prompt": False, "ignore_eos": True,
            # Probabilities are those before sampling. They are not told beside a token that is part of a character, so the
            # token that is drawn is always the same letter.
            "logit_bias": [[LETTER, 1000.0]],
        })
        answers = answers if isinstance(answers, list) else [answers]
        next_tokens = [answer["completion_probabilities"][0]["top_logprobs"] for answer in sorted(answers, key=lambda answer: answer["index"])]
        assert len(next_tokens) == len(positions)
        return [{entry["id"]: entry["logprob"] for entry in entries}[row["ids"][position]] for position, entries in zip(positions, next_tokens)]


class Refused(Exception):
    """The program or llama.cpp does not take a file."""


def differences(row, answers):
    return [abs(token["logprob"] - answer) for token, answer in zip(row["tokens"], answers, strict=True)]


def write_plain(path, out):
    """The same file with every tensor in f32."""
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(out, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        kind, inner = field.types[0], field.types[-1]
        if kind != gguf.GGUFValueType.ARRAY:
            writer.add_key_value(key, field.contents(), kind)
        elif field.contents():
            writer.add_key_value(key, field.contents(), kind, inner)
    for tensor in reader.tensors:
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, numbers.reshape([int(size) for size in reversed(tensor.shape)]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def change(path, how):
    value = json.loads(path.read_text())
    how(value)
    path.write_text(json.dumps(value))


def write_letters(folder):
    """The tokenizer of tiny-chat over the 71 tokens of the other models, and a template that adds little to a text."""
    assert len(set(LETTERS)) == 71
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(HERE / "tiny-chat" / name, folder)
    change(folder / "tokenizer.json", lambda file: file["model"].update(vocab={token: id for id, token in enumerate(LETTERS)}, merges=MERGES))
    change(folder / "tokenizer_config.json", lambda file: file.update(chat_template=SHORT_TEMPLATE))


def write_wide(folder):
    """A llama with rows of 256 and 512, which the formats with blocks of 256 divide, and an adapter for it."""
    config = json.loads((folder / "config.json").read_text())
    hidden, inner, layers, heads, keys, head = 256, 512, 3, 4, 2, 64
    change(folder / "config.json", lambda config: config.update(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=keys,
        head_dim=head, tie_word_embeddings=False, dtype="float32"))
    random = np.random.default_rng(7)
    matrix = lambda rows, columns, size: (random.standard_normal((rows, columns)) * size).astype(np.float32)
    norm = lambda: random.uniform(0.5, 1.5, hidden).astype(np.float32)
    shapes = {"self_attn.q_proj": (heads * head, hidden), "self_attn.k_proj": (keys * head, hidden), "self_attn.v_proj": (keys * head, hidden),
              "self_attn.o_proj": (hidden, heads * head), "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner)}
    weights = {"model.embed_tokens.weight": matrix(config["vocab_size"], hidden, 0.3), "model.norm.weight": norm(),
               "lm_head.weight": matrix(config["vocab_size"], hidden, hidden ** -0.5)}
    pairs, rank = {}, 4
    for layer in range(layers):
        for part, (rows, columns) in shapes.items():
            weights[f"model.layers.{layer}.{part}.weight"] = matrix(rows, columns, columns ** -0.5)
            pairs[f"base_model.model.model.layers.{layer}.{part}.lora_A.weight"] = matrix(rank, columns, columns ** -0.5)
            pairs[f"base_model.model.model.layers.{layer}.{part}.lora_B.weight"] = matrix(rows, rank, 0.2)
        for part in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{layer}.{part}.weight"] = norm()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    save_file(pairs, folder / "adapter/adapter_model.safetensors", {"format": "pt"})
    change(folder / "adapter/adapter_config.json", lambda config: config.update(r=rank, lora_alpha=8))


if __name__ == "__main__":
    sys.exit(main())
