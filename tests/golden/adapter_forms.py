"""Every form of a LoRA adapter that PEFT makes: is it computed as PEFT computes it, or refused by name? None in between.

    pip install -r tests/golden/requirements.txt
    cargo build --release
    python tests/golden/adapter_forms.py --trainer target/release/trainer [--form pissa] [--keep FOLDER]

For each form PEFT adapts the tiny golden llama, its trainable weights are moved at random as training would, and the adapter
is saved. Then the token log-probabilities of the same ids are taken

    trained   from the model in memory that the adapter was saved from
    loaded    from PeftModel.from_pretrained over the base as it is on disk; a dash where PEFT itself does not load it
    ours      from `trainer score --adapter`, or it refuses

A form is right if ours is within 1e-4 of trained and, where PEFT loads it, of loaded, or if the refusal names the key or
tensor that is the reason. The table ends with the number of forms of each kind; exit 1 if one is wrong or was not made.

Forms marked `by hand` are the plain adapter with a line of its config changed: settings that PEFT needs other libraries or
several adapters for. There is no model in memory for them, and where PEFT does not load them only the refusal counts.
"""
import argparse, collections, json, os, pathlib, subprocess, sys, tempfile, warnings

os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1")  # before the imports that read them

import torch
from peft import LoraConfig, PeftModel, get_peft_model, initialize_lora_eva_weights
from peft.tuners.lora import config as peft_configs
from peft.tuners.lora import preprocess_loraga
from peft.tuners.lora.corda import preprocess_corda
from transformers import AutoModelForCausalLM
from transformers.utils import logging

HERE = pathlib.Path(__file__).parent
BASE = HERE / "tiny-chat"
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PATHS = ["model.layers.1.self_attn.q_proj", "model.layers.0.mlp.down_proj"]
TOLERANCE = 1e-4
ANSWERS = ["governing law", "termination", "assignment", "definitions"]

# keys: of LoraConfig. hand: lines of adapter_config.json that are changed after saving. named: what a refusal names, None where
# the form is plain and must be computed. convert: PEFT takes the start off again when it saves.
Form = collections.namedtuple("Form", "name keys hand named convert", defaults=[{}, {}, None, False])


def special(name, **settings):
    """A sub-configuration of PEFT by the name of its class, made when its form is."""
    return lambda rows: getattr(peft_configs, name)(**settings)


def start(init, **more):
    return {"init_lora_weights": init, **more}


CORDA = dict(corda_config=special("CordaConfig", corda_method="kpm"))
LORA_GA = dict(lora_ga_config=special("LoraGAConfig"))
FORMS = [
    # Starts that leave the base as it is.
    Form("init true", start(True)),
    Form("init false", start(False)),
    Form("gaussian", start("gaussian")),
    Form("orthogonal", start("orthogonal")),
    Form("eva", start("eva", eva_config=special("EvaConfig", rho=1.0, use_label_mask=False))),
    # Starts that take something off it.
    Form("pissa", start("pissa"), named="init_lora_weights"),
    Form("pissa_niter_4", start("pissa_niter_4"), named="init_lora_weights"),
    Form("olora", start("olora"), named="init_lora_weights"),
    Form("corda", start("corda", **CORDA), named="init_lora_weights"),
    Form("loftq", start("loftq", loftq_config=special("LoftQConfig", loftq_bits=4)), named="init_lora_weights"),
    Form("lora_ga", start("lora_ga", **LORA_GA), named="init_lora_weights"),
    Form("pissa converted", start("pissa"), convert=True),
    Form("pissa rslora converted", start("pissa", use_rslora=True), convert=True),
    Form("pissa_niter_4 converted", start("pissa_niter_4"), convert=True),
    Form("olora converted", start("olora"), convert=True),
    Form("corda converted", start("corda", **CORDA), convert=True),
    Form("lora_ga converted", start("lora_ga", **LORA_GA), convert=True),
    # Settings that are computed, or change nothing that is.
    Form("use_rslora", dict(use_rslora=True)),
    Form("lora_dropout", dict(lora_dropout=0.25)),
    Form("all-linear", dict(target_modules="all-linear")),
    Form("regular expression", dict(target_modules=r"model\.layers\.\d+\.(self_attn\.[qv]_proj|mlp\.up_proj)")),
    Form("paths", dict(target_modules=PATHS)),
    Form("ensure_weight_tying", dict(ensure_weight_tying=True)),
    Form("loftq_config left", hand={"loftq_config": {"loftq_bits": 4}}),
    Form("unknown key, null", hand={"lora_magic": None}),
    Form("unknown key, empty", hand={"lora_magic": {}}),
    # Settings that change the computation.
    Form("use_dora", dict(use_dora=True), named="use_dora"),
    Form("dora without its key", dict(use_dora=True), {"use_dora": False}, named="lora_magnitude_vector"),
    Form("rank_pattern", dict(rank_pattern={"q_proj": 2}), named="rank_pattern"),
    Form("alpha_pattern", dict(alpha_pattern={"q_proj": 32}), named="alpha_pattern"),
    Form("layers_to_transform", dict(layers_to_transform=[0]), named="layers_to_transform"),
    Form("layers_pattern", dict(layers_to_transform=[0], layers_pattern="layers"), named="layers_"),
    Form("exclude_modules", dict(exclude_modules=["q_proj"]), named="exclude_modules"),
    Form("modules_to_save", dict(modules_to_save=["input_layernorm"]), named="modules_to_save"),
    Form("modules_to_save without its key", dict(modules_to_save=["input_layernorm"]), {"modules_to_save": None}, named="input_layernorm"),
    Form("bias all", dict(bias="all"), named="bias"),
    Form("bias lora_only", dict(bias="lora_only"), named="bias"),
    Form("lora_bias", dict(lora_bias=True), named="lora_bias"),
    Form("trainable_token_indices", dict(trainable_token_indices=[40, 41, 42]), named="trainable_token_indices"),
    Form("layer_replication", dict(layer_replication=[[0, 2], [1, 2]]), named="layer_replication"),
    Form("target_parameters", dict(target_modules=["q_proj"], target_parameters=["mlp.down_proj.weight"]), named="target_parameters"),
    Form("lm_head", dict(target_modules=[*LINEARS, "lm_head"]), named="lm_head"),
    Form("embed_tokens", dict(target_modules=[*LINEARS, "embed_tokens"]), named="embed_tokens"),
    Form("alora", dict(alora_invocation_tokens=lambda rows: invocation(rows)), named="alora_invocation_tokens"),
    Form("kasa", dict(kasa_config=special("KasaConfig")), named="kasa_config"),
    Form("velora", dict(velora_config=special("VeloraConfig", num_groups=8)), named="velora_config"),
    Form("monteclora", dict(monteclora_config=special("MontecloraConfig", num_samples=2, buffer_size=2)), named="monteclora_config"),
    Form("bdlora", dict(use_bdlora=special("BdLoraConfig", target_modules_bd_a=["o_proj", "down_proj"],
                                           target_modules_bd_b=["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"], nblocks=2)), named="use_bdlora"),
    # By hand.
    Form("fan_in_fan_out", hand={"fan_in_fan_out": True}, named="fan_in_fan_out"),
    Form("use_qalora", hand={"use_qalora": True}, named="use_qalora"),
    Form("arrow_config", hand={"arrow_config": {"top_k": 1}}, named="arrow_config"),
    Form("megatron_config", hand={"megatron_config": {"hidden_size": 64}}, named="megatron_config"),
    Form("task_type", hand={"task_type": "SEQ_CLS"}, named="task_type"),
    Form("peft_type", hand={"peft_type": "LOHA"}, named="peft_type"),
    Form("unknown start", hand={"init_lora_weights": "newer"}, named="init_lora_weights"),
    Form("unknown key", hand={"lora_magic": 3}, named="lora_magic"),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainer", type=pathlib.Path, required=True)
    parser.add_argument("--form", action="append", choices=[form.name for form in FORMS], help="only this form; may be repeated")
    parser.add_argument("--keep", type=pathlib.Path, help="write the adapters here, and leave them")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or pathlib.Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(args.trainer.resolve(), folder)
        rows = trainer.score(None)
        print(f"{'form':32}{'trained':>10}{'loaded':>10}  ours")
        for form in FORMS:
            if args.form and form.name not in args.form:
                continue
            kind, trained, loaded, ours = check(form, folder / form.name.replace(" ", "-"), trainer, rows)
            counts[kind] += 1
            print(f"{form.name:32}{trained:>10}{loaded:>10}  {kind}: {ours}", flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())), file=sys.stderr)
    return 1 if counts["WRONG"] or counts["NOT MADE"] else 0


def check(form, folder, trainer, rows):
    """The kind of a form, how far ours is from both of PEFT's, and what ours said."""
    try:
        model = make(form, folder, rows)
    except Exception as error:  # whatever PEFT says of a form, the others are still to be checked
        return "NOT MADE", "-", "-", first_line(error)
    trained = None if is_by_hand(form) else logprobs(model, rows)
    try:
        loaded = logprobs(PeftModel.from_pretrained(base(), folder), rows)
    except Exception:
        loaded = None
    answer = trainer.score(folder)
    if isinstance(answer, str):
        named = form.named is not None and form.named in answer
        return ("refused" if named else "WRONG"), "-", "-", answer
    ours = [token["logprob"] for row in answer for token in row["tokens"]]
    far = [None if other is None else max(abs(a - b) for a, b in zip(ours, other, strict=True)) for other in (trained, loaded)]
    right = any(one is not None for one in far) and all(one is None or one < TOLERANCE for one in far)
    shown = ["-" if one is None else f"{one:.1e}" for one in far]
    return ("equal" if right else "WRONG"), *shown, f"mean {sum(ours) / len(ours):.4f}"


def is_by_hand(form):
    return bool(form.hand) and not form.keys


def make(form, folder, rows):
    """The adapter in its folder, and the model in memory that it was saved from."""
    torch.manual_seed(17)
    keys = {key: value(rows) if callable(value) else value for key, value in form.keys.items()}
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": LINEARS, "task_type": "CAUSAL_LM", **keys})
    model, init = base(), keys.get("init_lora_weights")
    if init == "corda":
        preprocess_corda(model, config, run_model=lambda: [model(input_ids=ids) for ids in samples(rows)])
    if init == "lora_ga":
        preprocess_loraga(model, config, lambda: [model(input_ids=ids, labels=ids).loss.backward() for ids in samples(rows)])
        model.zero_grad()
    model = get_peft_model(model, config)
    if init == "eva":
        batches = [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids} for ids in samples(rows)]
        initialize_lora_eva_weights(model, batches, show_progress_bar=False)
    before = str(folder.with_name(folder.name + "-start"))
    if form.convert:
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(before, save_embedding_layers=False)
    model.eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    more = {"path_initial_model_for_weight_conversion": before} if form.convert else {}
    model.save_pretrained(folder, save_embedding_layers=False, **more)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **form.hand}, indent=2))
    return model.eval()


def base():
    return AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager").eval()


def samples(rows):
    """Ids to start from data with, more of them than the widest linear is wide."""
    generator = torch.Generator().manual_seed(5)
    return [torch.tensor([row["ids"]]) for row in rows] + [torch.randint(3, 300, (1, 64), generator=generator) for _ in range(8)]


def invocation(rows):
    """The tokens before the first answer, so that every row has them."""
    end = rows[0]["tokens"][0]["position"]
    return rows[0]["ids"][end - 3:end]


@torch.no_grad()
def logprobs(model, rows):
    found = []
    for row in rows:
        logits = model.eval()(input_ids=torch.tensor([row["ids"]]), use_cache=False).logits[0]
        logprobs = torch.log_softmax(logits.double(), -1)
        found += [logprobs[token["position"] - 1, token["id"]].item() for token in row["tokens"]]
    return found


class Trainer:
    """The program, and rows to score."""

    def __init__(self, path, folder):
        self.path, self.rows = path, folder / "rows.jsonl"
        self.environment = {**os.environ, "TRAINER_CACHE": str(folder / "cache"), "NO_COLOR": "1"}
        row = lambda n: {"id": f"row-{n}", "messages": [{"role": "user", "content": f"Clause {n}: which kind is it?"},
                                                       {"role": "assistant", "content": ANSWERS[n % len(ANSWERS)]}]}
        self.rows.write_text("".join(json.dumps(row(n)) + "\n" for n in range(8)))

    def score(self, adapter):
        """The rows token by token, or why the adapter is refused. Without an adapter: the rows of the base."""
        words = ["score", "--tokens", "--json", "--device", "cpu", "--model", BASE, *(["--adapter", adapter] if adapter else []), self.rows]
        done = subprocess.run([str(self.path), *map(str, words)], capture_output=True, text=True, env=self.environment)
        if done.returncode == 0:
            return [json.loads(line) for line in done.stdout.splitlines()]
        if done.returncode != 2 or adapter is None:
            sys.exit(f"{adapter}: exit code {done.returncode}\n{done.stderr}")
        refusal = next(line for line in done.stderr.splitlines() if line.startswith("error: "))
        return refusal.removeprefix(f"error: cannot use the adapter {adapter}: ").replace(f"{adapter}/", "")


def first_line(error):
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


if __name__ == "__main__":
    sys.exit(main())
