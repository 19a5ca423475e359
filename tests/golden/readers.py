"""Do other programs read what this one writes? Token log-probabilities of 50 held-out answers, by the programs that users load.

    pip install -r tests/golden/requirements.txt
    cargo build --release
    python tests/golden/readers.py --trainer target/release/trainer [--case qwen2-tied] [--keep FOLDER]

For each architecture, tied and untied, a small random checkpoint is made, `trainer fit` trains an adapter on it, and the
same ids are scored by

    peft          transformers + PEFT on base and adapter                     against `trainer score --adapter`
    merged f32    transformers on the folder of `trainer merge --dtype f32`   against the same
    merged bf16   transformers on the bf16 folder, in shards                  against `trainer score` of that folder
    gguf f16      transformers' GGUF loader on `trainer export --type f16`    against `trainer score --adapter`
    gguf q8_0 …   transformers' GGUF loader on the quantised file             against `trainer score` of that file
    blocks        the package `gguf`: every tensor read back; Q8_0, Q4_0 and Q5_0 equal to its own rounding, bit for bit
    lora          the package `gguf`: base rows + alpha / r * B * A = merged rows, for the adapter as a GGUF file

Exit 1 if a difference is above its bound. Numbers are the largest difference of one token's log-probability.
"""
import argparse, json, os, pathlib, subprocess, sys, tempfile, zlib

os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1")  # before the imports that read them

import gguf
import numpy as np
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.utils import logging

sys.dont_write_bytecode = True
import tiny_chat
from generate import random_weight

SHAPE = dict(vocab_size=320, hidden_size=256, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=2)
CASES = {
    "llama-tied": LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "llama-untied": LlamaConfig(**SHAPE, tie_word_embeddings=False),
    "llama-llama3": LlamaConfig(**SHAPE, tie_word_embeddings=False,
                                rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
                                                     high_freq_factor=4.0, original_max_position_embeddings=64)),
    "mistral-tied": MistralConfig(**SHAPE, sliding_window=None, tie_word_embeddings=True),
    "mistral-untied": MistralConfig(**SHAPE, sliding_window=None, tie_word_embeddings=False),
    "qwen2-tied": Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "qwen2-untied": Qwen2Config(**SHAPE, tie_word_embeddings=False),
    "qwen3-tied": Qwen3Config(**SHAPE, head_dim=128, tie_word_embeddings=True),
    "qwen3-untied": Qwen3Config(**SHAPE, head_dim=128, tie_word_embeddings=False),
}
ANSWERS = ["governing law", "termination", "assignment", "definitions", "limitation of liability", "severability"]
TYPES = {"q8_0": 1e-3, "q4_0": 1e-3, "q4_k_m": 1e-3}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainer", type=pathlib.Path, required=True)
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--keep", type=pathlib.Path, help="write here, and leave it")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(2)
    failed = False
    columns = ["peft", "merged f32", "merged bf16", "gguf f16", *[f"gguf {kind}" for kind in TYPES], "lora", "tokens"]
    print(f"{'case':16}" + "".join(f"{column:>14}" for column in columns))
    for case in args.case or CASES:
        with tempfile.TemporaryDirectory() as scratch:
            folder = (args.keep or pathlib.Path(scratch)) / case
            folder.mkdir(parents=True)
            found, wrong = check(case, folder, args.trainer.resolve())
        failed |= bool(wrong)
        print(f"{case:16}" + "".join(f"{found[column]:>14.2e}" if column != "tokens" else f"{found[column]:>14}" for column in columns), flush=True)
        for line in wrong:
            print(f"  {line}")
    return 1 if failed else 0


def check(case, folder, trainer):
    base = folder / "base"
    write_base(base, case)
    write_rows(folder)
    run = lambda *words: subprocess.run([str(trainer), *map(str, words)], check=True, capture_output=True, text=True, env={**os.environ, "TRAINER_CACHE": str(folder / "cache")}).stdout
    try:
        run("fit", folder / "config.toml", "--out", folder / "run", "--plain")
        score = lambda *words: [json.loads(line) for line in run("score", "--tokens", "--json", "--device", "cpu", *words, folder / "test.jsonl").splitlines()]
        rows = ["--device", "cpu"]
        apart = score("--model", base, "--adapter", folder / "run")
        run("merge", folder / "run", "--out", folder / "f32", "--dtype", "f32", *rows)
        run("merge", folder / "run", "--out", folder / "bf16", "--dtype", "bf16", "--max-shard-size", "1MB", *rows)
        for kind in ["f16", *TYPES, "lora"]:
            run("export", folder / "run", "--type", kind, "--out", folder / f"{kind}.gguf", *rows)
        run("export", base, "--type", "f16", "--out", folder / "base.gguf", "--kl-rows", "0")
    except subprocess.CalledProcessError as error:
        sys.exit(f"{case}: {' '.join(error.cmd)}\n{error.stderr}")
    assert len(apart) == 50, f"{case}: {len(apart)} rows"
    found, wrong = {"tokens": sum(len(row["tokens"]) for row in apart)}, []

    def compare(column, model, expected, bound):
        found[column] = largest_difference(model, expected)
        if not found[column] <= bound:
            wrong.append(f"{column}: {found[column]:.3g} is above {bound:g}")

    full = dict(dtype=torch.float32, attn_implementation="eager")
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, **full), folder / "run/adapter")
    moved = largest_difference(AutoModelForCausalLM.from_pretrained(base, **full), apart)
    assert moved > 0.1, f"{case}: the adapter changes nothing ({moved})"
    compare("peft", adapted, apart, 1e-3)
    compare("merged f32", AutoModelForCausalLM.from_pretrained(folder / "f32", **full), apart, 1e-3)
    assert (folder / "bf16/model.safetensors.index.json").exists()
    stored = {str(tensor.dtype) for file in (folder / "bf16").glob("*.safetensors") for tensor in load_file(file).values()}
    assert stored == {"torch.bfloat16"}, stored
    compare("merged bf16", AutoModelForCausalLM.from_pretrained(folder / "bf16", **full), score("--model", folder / "bf16"), 1e-3)
    for kind, bound in {"f16": 1e-2, **TYPES}.items():
        wrong += blocks(folder / f"{kind}.gguf", folder / "f32", CASES[case])
        if CASES[case].rope_parameters["rope_type"] != "default":
            # transformers leaves out `rope_freqs.weight`, which llama.cpp reads; `blocks` compares it.
            found[f"gguf {kind}"] = float("nan")
            continue
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=f"{kind}.gguf", **full)
        compare(f"gguf {kind}", model, apart if kind == "f16" else score("--model", folder / f"{kind}.gguf"), bound)
    found["lora"], complaint = lora(folder)
    wrong += complaint
    return found, wrong


def write_base(folder, case):
    random = np.random.default_rng(zlib.crc32(case.encode()))
    model = AutoModelForCausalLM.from_config(CASES[case], dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(random_weight(name, parameter.shape, random))
    model.save_pretrained(folder)
    tiny_chat.write_tokenizer(folder)


def write_rows(folder):
    def row(number):
        question = f"Clause {number} of contract {number * 37 % 101}: which kind is it?"
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": ANSWERS[number % len(ANSWERS)]}]
        return json.dumps({"id": f"row-{number}", "group": f"row-{number}", "messages": messages}) + "\n"
    (folder / "train.jsonl").write_text("".join(map(row, range(32))))
    (folder / "test.jsonl").write_text("".join(map(row, range(100, 150))))
    rslora = "true" if "mistral" in folder.name else "false"
    (folder / "config.toml").write_text(f"""version = 1
name = "readers"
[model]
base = "{folder / 'base'}"
[data]
train = "train.jsonl"
test = "test.jsonl"
near_duplicates = "none"
max_tokens = 256
[lora]
r = 8
lora_alpha = 16
use_rslora = {rslora}
[train]
epochs = 3
rows_per_step = 4
learning_rate = 5e-3
warmup_steps = 2
[eval]
enabled = false
[device]
name = "cpu"
""")


@torch.no_grad()
def largest_difference(model, rows):
    worst = 0.0
    for row in rows:
        logits = model.eval()(input_ids=torch.tensor([row["ids"]]), use_cache=False).logits[0]
        logprobs = torch.log_softmax(logits.double(), -1)
        for token in row["tokens"]:
            assert row["ids"][token["position"]] == token["id"]
            worst = max(worst, abs(logprobs[token["position"] - 1, token["id"]].item() - token["logprob"]))
    return worst


def blocks(path, merged, config):
    """Every tensor is within its format of the merged f32 weights; the plain formats are those of the package itself."""
    reader, weights, wrong = gguf.GGUFReader(path), load_file(merged / "model.safetensors"), []
    names = gguf.get_tensor_name_map({"qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3}.get(config.model_type, gguf.MODEL_ARCH.LLAMA), config.num_hidden_layers)
    expected = {names.get_name(name, try_suffixes=(".weight", ".bias")): (name, tensor) for name, tensor in weights.items()}
    for tensor in reader.tensors:
        if tensor.name == "rope_freqs.weight":
            head = config.hidden_size // config.num_attention_heads
            plain = 1 / config.rope_parameters["rope_theta"] ** (np.arange(0, head, 2) / head)
            stretched = ROPE_INIT_FUNCTIONS[config.rope_parameters["rope_type"]](config, "cpu")[0].numpy()
            if np.abs(tensor.data / (plain / stretched) - 1).max() > 1e-5:
                wrong.append(f"{path.name}: rope_freqs.weight is not what stretches the frequencies")
            continue
        name, weight = expected.pop(tensor.name)
        weight = weight.float().numpy()
        if config.model_type in ("llama", "mistral") and ("q_proj.weight" in name or "k_proj.weight" in name):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            weight = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
        read = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(weight.shape)
        step = {"F32": 1e-6, "F16": 1e-3, "Q8_0": 0.01, "Q6_K": 0.05, "Q5_0": 0.08, "Q4_K": 0.2, "Q4_0": 0.15}[tensor.tensor_type.name]
        if np.abs(read - weight).max() > step * np.abs(weight).max():
            wrong.append(f"{path.name} {tensor.name} ({tensor.tensor_type.name}): off by {np.abs(read - weight).max():.3g}")
        if tensor.tensor_type.name in ("Q8_0", "Q4_0", "Q5_0"):
            theirs = gguf.quants.quantize(weight, tensor.tensor_type)
            differing = np.mean(theirs.reshape(-1) != np.asarray(tensor.data).reshape(-1))
            # The merged f32 folder and the sum behind the file are the same numbers, so the bytes are too.
            if differing > 0:
                wrong.append(f"{path.name} {tensor.name} ({tensor.tensor_type.name}): {differing:.2%} of the bytes differ from the package's own")
    if expected:
        wrong.append(f"{path.name}: missing {sorted(expected)}")
    return wrong


def lora(folder):
    base, merged, adapter = (gguf.GGUFReader(folder / name) for name in ("base.gguf", "f16.gguf", "lora.gguf"))
    value = lambda reader, key: reader.fields[key].contents()
    wrong = []
    if (value(adapter, "general.type"), value(adapter, "adapter.type")) != ("adapter", "lora"):
        wrong.append("lora: general.type or adapter.type")
    if value(adapter, "general.architecture") != value(base, "general.architecture"):
        wrong.append("lora: general.architecture")
    rows = lambda reader: {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    before, after, pairs = rows(base), rows(merged), rows(adapter)
    alpha, worst = value(adapter, "adapter.lora.alpha"), 0.0
    for name in before:
        if f"{name}.lora_a" not in pairs:
            continue
        a, b = pairs.pop(f"{name}.lora_a"), pairs.pop(f"{name}.lora_b")
        worst = max(worst, np.abs(before[name] + alpha / a.shape[0] * (b @ a) - after[name]).max())
    if pairs:
        wrong.append(f"lora: no place for {sorted(pairs)[:3]}")
    if worst > 2e-3:
        wrong.append(f"lora: rows differ by {worst:.3g}")
    return worst, wrong


if __name__ == "__main__":
    sys.exit(main())
