"""Log-probability of each target token as transformers + PEFT see it: the oracle for `trainer score --tokens`.

    pip install -r tests/golden/requirements.txt
    python tests/oracles/peft_logprobs.py MODEL ADAPTER ROWS.jsonl
    python tests/oracles/peft_logprobs.py MODEL ADAPTER --expected SCORES.jsonl [--tolerance 1e-3]

MODEL is a checkpoint folder or a .gguf file, ADAPTER a PEFT folder, or `-` for the base alone. Runs in f32.
ROWS has {"id", "ids": [...], "first_target": k}: tokens k, k+1, ... are targets. SCORES, and what is printed, has
{"id", "ids": [...], "tokens": [{"position", "id", "logprob"}]}, the form of `trainer score --tokens --json`.
With --expected the largest absolute difference is printed; exit 1 above the tolerance. ROWS may be given too:
then both files must name the same rows, ids and targets.

Ids, not text: transformers rebuilds a tokenizer from GGUF metadata without the split into single digits,
so it would give other ids than the tokenizer that the model was trained with.
"""
import argparse, json, pathlib, sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("adapter")
    parser.add_argument("rows", type=pathlib.Path, nargs="?")
    parser.add_argument("--expected", type=pathlib.Path)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    args = parser.parse_args()
    if args.rows is None and args.expected is None:
        parser.error("give ROWS.jsonl, --expected FILE, or both")

    expected = {row["id"]: row for row in read_rows(args.expected)} if args.expected else {}
    targets = {row["id"]: (row["ids"], [t["position"] for t in row["tokens"]]) for row in expected.values()}
    if args.rows:
        asked = {row["id"]: (row["ids"], list(range(row["first_target"], len(row["ids"])))) for row in read_rows(args.rows)}
        if args.expected and asked != targets:
            sys.exit(f"{args.rows} and {args.expected} differ in ids or targets of rows {[i for i in asked.keys() | targets.keys() if asked.get(i) != targets.get(i)]}")
        targets = asked
    for row_id, (ids, positions) in targets.items():
        if not positions or not all(1 <= p < len(ids) for p in positions):
            sys.exit(f"row {row_id!r}: targets must be positions from 1 to {len(ids) - 1}, and at least one")
    for row_id, row in expected.items():
        if [row["ids"][t["position"]] for t in row["tokens"]] != [t["id"] for t in row["tokens"]]:
            sys.exit(f"row {row_id!r}: a token id differs from `ids` at its position")

    model = load(args.model, args.adapter)
    worst, num_tokens = (-1.0, None, None), 0
    for row_id, (ids, positions) in targets.items():
        tokens = score(model, ids, positions)
        if not args.expected:
            print(json.dumps({"id": row_id, "ids": ids, "tokens": tokens}))
        for ours, theirs in zip(tokens, expected[row_id]["tokens"] if args.expected else []):
            difference = abs(ours["logprob"] - theirs["logprob"])
            num_tokens += 1
            # A NaN must fail, so it counts as the largest difference there is.
            worst = max(worst, (difference if difference == difference else float("inf"), str(row_id), ours["position"]))
    if args.expected:
        print(f"{len(targets)} rows, {num_tokens} tokens, largest difference {worst[0]:.3g} at row {worst[1]} position {worst[2]}, tolerance {args.tolerance:g}")
        return 1 if worst[0] > args.tolerance else 0
    return 0


def read_rows(path):
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    if not rows or len({row["id"] for row in rows}) != len(rows):
        sys.exit(f"{path}: no rows, or an id twice")
    return rows


def load(path, adapter):
    if path.suffix == ".gguf":
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    return (model if adapter == "-" else PeftModel.from_pretrained(model, adapter)).eval()


@torch.no_grad()
def score(model, ids, positions):
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double()
    logprobs = torch.log_softmax(logits[[p - 1 for p in positions]], dim=-1)
    return [{"position": p, "id": ids[p], "logprob": logprobs[i, ids[p]].item()} for i, p in enumerate(positions)]


if __name__ == "__main__":
    sys.exit(main())
