"""The peer for training speed on a CPU: PyTorch + PEFT, LoRA on the SmolLM2-135M shape with random weights
(speed does not depend on their values).

    pip install -r tests/golden/requirements.txt
    python tests/oracles/peft_cpu_speed.py                        # 8 rows of 200 tokens, f32
    python tests/oracles/peft_cpu_speed.py --rows 1 --length 1600
    python tests/oracles/peft_cpu_speed.py --dtype bf16

LoRA r = 16, alpha 32 on the seven linears, loss on the last 5 tokens of a row, AdamW, clip 1.0, no checkpointing.
Prints one JSON line; tokens/s counts every token of the batch, none is padding. Nothing else may use the cores.
"""
import argparse, json, os, statistics, sys, time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig

SMOLLM2_135M = LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                           num_key_value_heads=3, head_dim=64, max_position_embeddings=8192, rope_parameters=dict(rope_type="default", rope_theta=100000.0),
                           rms_norm_eps=1e-5, tie_word_embeddings=True, use_cache=False)
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--supervised", type=int, default=5, help="supervised tokens at the end of a row")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
    model = AutoModelForCausalLM.from_config(SMOLLM2_135M, dtype=dtype, attn_implementation="sdpa")
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=TARGETS, task_type="CAUSAL_LM")).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)

    seconds = []
    for step in range(args.warmup + args.steps):
        ids = torch.randint(0, SMOLLM2_135M.vocab_size, (args.rows, args.length))
        labels = ids.clone()
        labels[:, : -args.supervised] = -100
        start = time.perf_counter()
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step >= args.warmup:
            seconds.append(time.perf_counter() - start)
        print(f"step {step} loss {loss.item():.3f} {time.perf_counter() - start:.2f} s", file=sys.stderr)

    tokens = args.rows * args.length
    print(json.dumps({
        "peer": "torch " + torch.__version__ + " + peft", "rows": args.rows, "length": args.length, "supervised": args.supervised,
        "dtype": args.dtype, "threads": args.threads, "trainable": sum(p.numel() for p in parameters), "steps": args.steps,
        "tokens_per_second": round(tokens / statistics.median(seconds), 1),
        "slowest_to_fastest": [round(tokens / max(seconds), 1), round(tokens / min(seconds), 1)],
    }))


if __name__ == "__main__":
    main()
