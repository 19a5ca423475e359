"""Golden values: tiny random checkpoints with the logits and LoRA gradients that transformers and PEFT give for them.

    pip install -r tests/golden/requirements.txt
    python tests/golden/generate.py            # write every case beside this script
    python tests/golden/generate.py --check    # write to a temporary folder, compare, exit 1 on a difference
    python tests/golden/generate.py --check --tolerance 1e-5      # on a processor with other vector instructions
    python tests/golden/generate.py --case qwen3 --case mistral

Each case is a folder:
    config.json, model.safetensors (or shards)   a Hugging Face checkpoint
    adapter/                                     a PEFT adapter with random, non-zero A and B
    golden.json                                  documents, loss and settings, see `golden_json`
    golden.safetensors                           documents.<i>.logits          [tokens, vocab] without the adapter
                                                 documents.<i>.adapter_logits  [tokens, vocab] with it
                                                 grad.<key of the adapter file> d loss / d A or B

Each document runs alone, without padding, in f32 with eager attention.
A position p in `target_positions` means: token p is supervised, predicted by the logits at p - 1.
loss = sum of cross-entropies over all target positions of all documents / `num_supervised`.
"""
import argparse, json, os, pathlib, re, shutil, sys, tempfile, warnings, zlib

os.environ["HF_HUB_OFFLINE"] = "1"  # before the imports that read it

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
from transformers.utils import logging

sys.dont_write_bytecode = True  # no cache folder between the golden files
import tiny_chat

HERE = pathlib.Path(__file__).parent
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
DOCUMENT_TOKENS = [13, 21]

# 38 and 71 are not multiples of a vector width, so that loops with a tail are tested too.
SHAPE = dict(vocab_size=71, hidden_size=32, intermediate_size=38, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=None)


def rope(kind, **keys):
    return dict(rope_type=kind, rope_theta=10000.0, **keys)


# Case: the config, then how it is stored. `legacy_rope` writes `rope_theta` + `rope_scaling` as checkpoints made
# before transformers 5 have it; the value is the name that such files use for the type.
CASES = {
    "llama-tied": (LlamaConfig(**SHAPE, tie_word_embeddings=True), dict(legacy_rope="rope_type")),
    "llama-untied": (LlamaConfig(**SHAPE, rms_norm_eps=1e-3, rope_parameters=dict(rope_type="default", rope_theta=500.0)), {}),
    "llama-head-dim": (LlamaConfig(**SHAPE, head_dim=16), {}),
    "llama-rope-linear": (LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_parameters=rope("linear", factor=2.5)), dict(legacy_rope="type")),
    # Wavelengths are 6, 63, 628 and 6283: one is kept, one is blended, two are stretched.
    "llama-rope-llama3": (LlamaConfig(**SHAPE, rope_parameters=rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                                   original_max_position_embeddings=64)), dict(legacy_rope="rope_type")),
    "llama-rope-yarn": (LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=64)), {}),
    "llama-sharded": (LlamaConfig(**SHAPE, tie_word_embeddings=True), dict(max_shard_size="40KB")),
    "llama-bf16": (LlamaConfig(**SHAPE), dict(dtype=torch.bfloat16)),
    "llama-f16": (LlamaConfig(**SHAPE, tie_word_embeddings=True), dict(dtype=torch.float16)),
    "mistral": (MistralConfig(**SHAPE, sliding_window=None), dict(use_rslora=True)),
    "mistral-sliding-window": (MistralConfig(**SHAPE, sliding_window=6), {}),
    "qwen2": (Qwen2Config(**SHAPE, rms_norm_eps=1e-6, rope_parameters=dict(rope_type="default", rope_theta=500.0)), dict(legacy_rope="rope_type")),
    "qwen3": (Qwen3Config(**SHAPE, head_dim=16, rms_norm_eps=1e-6, tie_word_embeddings=True), {}),
    "tiny-chat": (tiny_chat.config(), dict(dtype=torch.bfloat16, chat=True)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files beside this script instead of writing them")
    parser.add_argument("--tolerance", type=float, default=1e-6, help="allowed difference, relative for values above 1")
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this case; may be repeated")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    cases = args.case or list(CASES)
    if not args.check:
        for case in cases:
            shutil.rmtree(HERE / case, ignore_errors=True)
            write_case(HERE / case, case)
            print(f"{case:24} {sum(f.stat().st_size for f in (HERE / case).rglob('*') if f.is_file()) / 1024:8.1f} KiB")
        return 0
    differences = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            write_case(pathlib.Path(folder) / case, case)
            differences += compare_folders(HERE / case, pathlib.Path(folder) / case, args.tolerance)
    for line in differences:
        print(line)
    print(f"{len(cases)} cases, {len(differences)} differences above {args.tolerance:g}", file=sys.stderr)
    return 1 if differences else 0


def write_case(folder, case):
    """Write the checkpoint, read it back as a user would, and record what it computes."""
    config, how = CASES[case]
    # numpy's generator gives the same numbers on every processor; torch's depends on the vector width.
    random = np.random.default_rng(zlib.crc32(case.encode()))
    write_checkpoint(folder, config, how, random)
    if how.get("chat"):
        tiny_chat.write_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    read = {key: model.config.rope_parameters[key] for key in config.rope_parameters}
    assert read == config.rope_parameters, f"{case}: rope read back as {model.config.rope_parameters}"
    documents = make_documents(config.vocab_size, random)

    tensors = {}
    with torch.no_grad():
        for i, document in enumerate(documents):
            tensors[f"documents.{i}.logits"] = logits_of(model, document)
        base_loss = mean_loss(model, documents).item()
    model = with_adapter(model, how, random)
    with torch.no_grad():
        for i, document in enumerate(documents):
            tensors[f"documents.{i}.adapter_logits"] = logits_of(model, document)
    for i in range(len(documents)):
        moved = (tensors[f"documents.{i}.adapter_logits"] - tensors[f"documents.{i}.logits"]).abs().max()
        assert moved > 0.1, f"{case}: the adapter changes nothing"
    loss = mean_loss(model, documents)
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.abs().max() > 1e-4, f"{case}: no gradient in {name}"
            tensors["grad." + name.replace(".default.", ".")] = parameter.grad

    save_adapter(model, folder / "adapter", case)
    save_file({name: t.detach().clone().contiguous() for name, t in tensors.items()}, folder / "golden.safetensors")
    golden = golden_json(case, how, documents, base_loss, loss.item())
    if how.get("chat"):
        golden["chats"] = tiny_chat.rendered_chats(folder)
    write_json(folder / "golden.json", golden)


def golden_json(case, how, documents, base_loss, loss):
    return {
        "version": 1, "made_by": "tests/golden/generate.py", "case": case,
        "documents": documents, "num_supervised": sum(len(d["target_positions"]) for d in documents),
        "base_loss": base_loss, "loss": loss,
        "r": 4, "lora_alpha": 8, "use_rslora": how.get("use_rslora", False),
    }


def write_checkpoint(folder, config, how, random):
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(random_weight(name, parameter.shape, random))
    model.to(how.get("dtype", torch.float32)).save_pretrained(folder, max_shard_size=how.get("max_shard_size", "1GB"))
    if not how.get("chat"):
        (folder / "generation_config.json").unlink()
    if "legacy_rope" in how:
        use_legacy_keys(folder / "config.json", how["legacy_rope"])


def random_weight(name, shape, random):
    """Large enough that each part shows in the logits: norms around 1, biases and attention far from uniform."""
    values = random.standard_normal(shape)
    if "norm" in name:
        values = random.uniform(0.5, 1.5, shape)
    elif name.endswith("bias"):
        values *= 0.5
    elif "embed_tokens" in name:
        values *= 0.3
    else:
        values *= shape[-1] ** -0.5
    return torch.from_numpy(values).float()


def use_legacy_keys(path, type_key):
    config = json.loads(path.read_text())
    scaling = config.pop("rope_parameters")
    config["rope_theta"] = scaling.pop("rope_theta")
    kind = scaling.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {type_key: kind, **scaling}
    config["torch_dtype"] = config.pop("dtype")
    write_json(path, config)


def make_documents(vocab_size, random):
    """Supervised: the last third, and one separate position, so that the mask is not one run."""
    documents = []
    for tokens in DOCUMENT_TOKENS:
        ids = random.integers(3, vocab_size, tokens).tolist()
        documents.append({"ids": ids, "target_positions": [2, *range(tokens - tokens // 3, tokens)]})
    return documents


def logits_of(model, document):
    return model(input_ids=torch.tensor([document["ids"]]), use_cache=False).logits[0]


def mean_loss(model, documents):
    total = 0.0
    for document in documents:
        positions = torch.tensor(document["target_positions"])
        targets = torch.tensor(document["ids"])[positions]
        total = total + torch.nn.functional.cross_entropy(logits_of(model, document)[positions - 1], targets, reduction="sum")
    return total / sum(len(d["target_positions"]) for d in documents)


def with_adapter(model, how, random):
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=LINEARS, task_type="CAUSAL_LM",
                        use_rslora=how.get("use_rslora", False))
    model = get_peft_model(model, config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                scale = parameter.shape[1] ** -0.5 if "lora_A" in name else 0.15
                parameter.copy_(torch.from_numpy(random.standard_normal(parameter.shape) * scale).float())
    return model


def save_adapter(model, folder, case):
    # The folder it was loaded from differs between machines, and PEFT writes the modules in the order of a hash set.
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = case
    config["target_modules"] = sorted(config["target_modules"])
    write_json(folder / "adapter_config.json", config)
    stored = {name for name, _ in read_tensors(folder / "adapter_model.safetensors")}
    assert stored == set(get_peft_model_state_dict(model)), "names of the adapter file"


def write_json(path, value):
    # Lists of numbers on one line: a document stays readable and a change of one token is a change of one line.
    text = json.dumps(value, indent=2, ensure_ascii=False)
    path.write_text(re.sub(r"\[\s+([-\d.,\s]+?)\s+\]", lambda m: "[" + " ".join(m[1].split()) + "]", text) + "\n")


def read_tensors(path):
    with safe_open(path, "pt") as file:
        return [(name, file.get_tensor(name)) for name in sorted(file.keys())]


def compare_folders(old, new, tolerance):
    names = {f.relative_to(root).as_posix() for root in (old, new) for f in root.rglob("*") if f.is_file()}
    lines = []
    for name in sorted(names):
        label = f"{new.name}/{name}"
        if not ((old / name).exists() and (new / name).exists()):
            lines.append(f"{label}: only in the {'old' if (old / name).exists() else 'new'} folder")
        elif name.endswith(".safetensors"):
            lines += compare_tensors(label, dict(read_tensors(old / name)), dict(read_tensors(new / name)), tolerance)
        elif name.endswith(".json"):
            lines += compare_json(label, json.loads((old / name).read_text()), json.loads((new / name).read_text()), tolerance)
        elif (old / name).read_bytes() != (new / name).read_bytes():
            lines.append(f"{label}: bytes differ")
    return lines


def compare_tensors(label, old, new, tolerance):
    lines = [f"{label}: {name}: only on one side" for name in sorted(old.keys() ^ new.keys())]
    for name in sorted(old.keys() & new.keys()):
        a, b = old[name], new[name]
        if a.dtype != b.dtype or a.shape != b.shape:
            lines.append(f"{label}: {name}: {a.dtype} {list(a.shape)} became {b.dtype} {list(b.shape)}")
            continue
        difference = ((a.double() - b.double()).abs() / a.double().abs().clamp(min=1.0)).max().item()
        if not difference <= tolerance:
            lines.append(f"{label}: {name}: differs by {difference:.3g}")
    return lines


def compare_json(label, old, new, tolerance):
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        return [line for key in old for line in compare_json(f"{label}: {key}", old[key], new[key], tolerance)]
    if isinstance(old, float) and isinstance(new, float) and abs(old - new) <= tolerance * max(1.0, abs(old)):
        return []
    return [] if old == new else [f"{label}: {json.dumps(old)[:80]} became {json.dumps(new)[:80]}"]


if __name__ == "__main__":
    sys.exit(main())
