"""Every form of an adapter that PEFT makes: is it computed as PEFT computes it, or refused by name? None in between.

    pip install -r tests/golden/requirements.txt
    cargo build --release
    python tests/golden/adapter_forms.py --trainer target/release/trainer [--form pissa] [--keep FOLDER]

For each form PEFT adapts the tiny golden llama, its trainable weights are moved at random as training would, and the adapter
is saved. Then the token log-probabilities of the same ids are taken

    trained   from the model in memory that the adapter was saved from
    loaded    from PeftModel.from_pretrained over the base as it is on disk; a dash where PEFT itself does not load it
    ours      from `trainer score --adapter` and from `trainer score` of the folder that `trainer merge` writes, or it refuses

A form is right if ours is within 1e-4 of trained and, where PEFT loads it, of loaded, and `export`, `check-adapter` and
`lora.init_adapter` take it too; or if each of the five refuses it and names the key or tensor that is the reason. The table
ends with the number of forms of each kind and the largest difference; exit 1 if one is wrong or was not made.

Forms marked `by hand` are the plain adapter with a line of its config or the numbers of its tensors changed: settings that
PEFT needs other libraries or several adapters for. There is no model in memory for them, and where PEFT does not load them
only the refusal counts.
"""
import argparse, collections, json, os, pathlib, shutil, subprocess, sys, tempfile, warnings

os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1")  # before the imports that read them

import torch
from peft import PeftModel, get_peft_model, initialize_lora_eva_weights
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.lora import config as peft_configs
from peft.tuners.lora import preprocess_loraga
from peft.tuners.lora.corda import preprocess_corda
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

HERE = pathlib.Path(__file__).parent
BASE = HERE / "tiny-chat"
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PATHS = ["model.layers.1.self_attn.q_proj", "model.layers.0.mlp.down_proj"]
TOLERANCE = 1e-4
ANSWERS = ["governing law", "termination", "assignment", "definitions"]

# keys: of the config of PEFT. hand: lines of adapter_config.json that are changed after saving. named: what a refusal names,
# None where the form is plain and must be computed. convert: PEFT takes the start off again when it saves. method: the
# peft_type. dtype: of the tensors of the file. cat: two adapters put side by side as one.
Form = collections.namedtuple("Form", "name keys hand named convert method dtype cat", defaults=[{}, {}, None, False, "LORA", None, False])


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
    Form("mica", start("mica")),
    Form("eva", start("eva", eva_config=special("EvaConfig", rho=1.0, use_label_mask=False))),
    Form("eva, ranks moved", start("eva", eva_config=special("EvaConfig", rho=2.0, use_label_mask=False)), named="_pattern"),
    # Starts that take something off it.
    Form("pissa", start("pissa"), named="init_lora_weights"),
    Form("pissa_niter_4", start("pissa_niter_4"), named="init_lora_weights"),
    Form("olora", start("olora"), named="init_lora_weights"),
    Form("corda", start("corda", **CORDA), named="init_lora_weights"),
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
    Form("regular expression with a look-ahead", dict(target_modules=r".*layers\.\d+\.(?!mlp).*(q|v)_proj"), named="target_modules"),
    Form("paths", dict(target_modules=PATHS)),
    Form("names that overlap", dict(target_modules=[*LINEARS, "self_attn.q_proj"])),
    Form("target_modules of PEFT's own list", dict(target_modules=None)),
    Form("name of no module", dict(target_modules=[*LINEARS, "c_attn"]), named="c_attn"),
    Form("large rank", dict(r=80, lora_alpha=160)),
    Form("lora_alpha 11.3", dict(lora_alpha=11.3)),
    Form("two adapters side by side", cat=True),
    Form("two rslora side by side", dict(use_rslora=True), cat=True),
    Form("fan_in_fan_out, which PEFT takes back", dict(fan_in_fan_out=True)),
    Form("bfloat16", dtype=torch.bfloat16),
    Form("float16", dtype=torch.float16),
    Form("all-linear as written", hand={"target_modules": "all-linear"}),
    Form("ensure_weight_tying", dict(ensure_weight_tying=True)),
    Form("loftq_config left", hand={"loftq_config": {"loftq_bits": 4}}),
    Form("unknown key, null", hand={"lora_magic": None}),
    Form("unknown key, empty", hand={"lora_magic": {}}),
    # Settings that change the computation.
    Form("use_dora", dict(use_dora=True), named="use_dora"),
    Form("dora without its key", dict(use_dora=True), {"use_dora": False}, named="lora_magnitude_vector"),
    Form("rank_pattern", dict(rank_pattern={"q_proj": 2}), named="rank_pattern"),
    Form("rank_pattern of the same rank", dict(rank_pattern={"q_proj": 4}), named="rank_pattern"),
    Form("rank_pattern, regular expression", dict(rank_pattern={r"^model\.layers\.1\..*(q|v)_proj": 2}), named="rank_pattern"),
    Form("rank_pattern without its key", dict(rank_pattern={"q_proj": 2}), {"rank_pattern": {}}, named="q_proj.lora_A"),
    Form("alpha_pattern", dict(alpha_pattern={"q_proj": 32}), named="alpha_pattern"),
    Form("alpha_pattern, regular expression", dict(alpha_pattern={r".*\.0\..*_proj": 32}), named="alpha_pattern"),
    Form("alpha_pattern of nothing", dict(alpha_pattern={"c_attn": 32}), named="alpha_pattern"),
    Form("lora_alpha 0", dict(lora_alpha=0), named="lora_alpha"),
    Form("lora_alpha -8", dict(lora_alpha=-8), named="lora_alpha"),
    Form("layers_to_transform", dict(layers_to_transform=[0]), named="layers_to_transform"),
    Form("layers_to_transform, one", dict(layers_to_transform=1), named="layers_to_transform"),
    Form("layers_to_transform without its key", dict(layers_to_transform=[0]), {"layers_to_transform": None}, named="target_modules"),
    Form("layers_pattern", dict(layers_to_transform=[0], layers_pattern="layers"), named="layers_"),
    Form("exclude_modules", dict(exclude_modules=["q_proj"]), named="exclude_modules"),
    Form("exclude_modules, regular expression", dict(exclude_modules=r".*layers\.0\..*q_proj"), named="exclude_modules"),
    Form("exclude_modules without its key", dict(exclude_modules=["q_proj"]), {"exclude_modules": None}, named="q_proj"),
    Form("modules_to_save", dict(modules_to_save=["input_layernorm"]), named="modules_to_save"),
    Form("modules_to_save without its key", dict(modules_to_save=["input_layernorm"]), {"modules_to_save": None}, named="input_layernorm"),
    Form("modules_to_save, head", dict(modules_to_save=["lm_head"]), named="modules_to_save"),
    Form("bias all", dict(bias="all"), named="bias"),
    Form("bias lora_only", dict(bias="lora_only"), named="bias"),
    Form("lora_bias", dict(lora_bias=True), named="lora_bias"),
    Form("lora_bias without its key", dict(lora_bias=True), {"lora_bias": False}, named="lora_B.bias"),
    Form("trainable_token_indices by module", dict(trainable_token_indices={"embed_tokens": [40]}), named="trainable_token_indices"),
    Form("trainable_token_indices", dict(trainable_token_indices=[40, 41, 42]), named="trainable_token_indices"),
    Form("layer_replication", dict(layer_replication=[[0, 2], [1, 2]]), named="layer_replication"),
    Form("target_parameters", dict(target_modules=["q_proj"], target_parameters=["mlp.down_proj.weight"]), named="target_parameters"),
    Form("target_parameters alone", dict(target_modules=None, target_parameters=["mlp.down_proj.weight"]), named="target_parameters"),
    Form("target_parameters without its key", dict(target_modules=["q_proj"], target_parameters=["mlp.down_proj.weight"]),
         {"target_parameters": None}, named="down_proj"),
    Form("lm_head", dict(target_modules=[*LINEARS, "lm_head"]), named="lm_head"),
    Form("embed_tokens", dict(target_modules=[*LINEARS, "embed_tokens"]), named="embed_tokens"),
    Form("alora", dict(alora_invocation_tokens=lambda rows: invocation(rows)), named="alora_invocation_tokens"),
    Form("kasa", dict(kasa_config=special("KasaConfig")), named="kasa_config"),
    Form("velora", dict(velora_config=special("VeloraConfig", num_groups=8)), named="velora_config"),
    Form("monteclora", dict(monteclora_config=special("MontecloraConfig", num_samples=2, buffer_size=2)), named="monteclora_config"),
    Form("bdlora", dict(use_bdlora=special("BdLoraConfig", target_modules_bd_a=["o_proj", "down_proj"],
                                           target_modules_bd_b=["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"], nblocks=2)), named="use_bdlora"),
    # By hand.
    Form("loftq", hand={"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}, named="init_lora_weights"),
    Form("float64", dtype=torch.float64, named="F64"),
    Form("not finite", dtype="nan", named="not finite"),
    Form("fan_in_fan_out", hand={"fan_in_fan_out": True}, named="fan_in_fan_out"),
    Form("use_qalora", hand={"use_qalora": True}, named="use_qalora"),
    Form("arrow_config", hand={"arrow_config": {"top_k": 1}}, named="arrow_config"),
    Form("megatron_config", hand={"megatron_config": {"hidden_size": 64}}, named="megatron_config"),
    Form("task_type", hand={"task_type": "SEQ_CLS"}, named="task_type"),
    Form("peft_type", hand={"peft_type": "LOHA"}, named="peft_type"),
    Form("unknown start", hand={"init_lora_weights": "newer"}, named="init_lora_weights"),
    Form("unknown key", hand={"lora_magic": 3}, named="lora_magic"),
    Form("X-LoRA", hand={"peft_type": "XLORA"}, named="peft_type"),
]
# Every other method of PEFT but X-LoRA, which needs adapters: what its config needs beside the linears.
NEEDS = {
    "ADALORA": dict(total_step=10), "ADAPTION_PROMPT": dict(adapter_len=4, adapter_layers=1, target_modules=None),
    "BOFT": dict(boft_block_size=4), "C3A": dict(block_size=8),
    "CPT": dict(cpt_token_ids=[40, 41], cpt_mask=[1, 1], cpt_tokens_type_mask=[1, 1]), "FOURIERFT": dict(n_frequency=16),
    "IA3": dict(feedforward_modules=["down_proj"]), "LN_TUNING": dict(target_modules=["input_layernorm"]),
    "MULTITASK_PROMPT_TUNING": dict(num_tasks=2), "OFT": dict(oft_block_size=8, r=0), "ROAD": dict(group_size=32),
    "SHIRA": dict(r=2), "TRAINABLE_TOKENS": dict(token_indices=[40, 41], target_modules=None),
    "VBLORA": dict(vector_length=8, num_vectors=8, topk=1), "WAVEFT": dict(n_frequency=16),
}
FORMS += [Form(method.value, NEEDS.get(method.value, {}), named="peft_type", method=method.value)
          for method in PEFT_TYPE_TO_CONFIG_MAPPING if method.value not in ("LORA", "XLORA")]


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
    counts, largest = collections.Counter(), 0.0
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or pathlib.Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(args.trainer.resolve(), folder)
        rows = trainer.score(None)
        print(f"{'form':40}{'trained':>10}{'loaded':>10}  ours")
        for form in FORMS:
            if args.form and form.name not in args.form:
                continue
            kind, far, ours = check(form, folder / form.name.replace(" ", "-"), trainer, rows)
            counts[kind] += 1
            largest = max([largest, *[one for one in far if one is not None]])
            trained, loaded = ["-" if one is None else f"{one:.1e}" for one in far]
            print(f"{form.name:40}{trained:>10}{loaded:>10}  {kind}: {ours}", flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) + f"; largest difference {largest:.1e}")
    return 1 if counts["WRONG"] or counts["NOT MADE"] else 0


def check(form, folder, trainer, rows):
    """The kind of a form, how far ours is from both of PEFT's, and what ours said."""
    try:
        model = make(form, folder, rows)
    except Exception as error:  # whatever PEFT says of a form, the others are still to be checked
        return "NOT MADE", (None, None), first_line(error)
    if form.named is not None:
        said = trainer.all_five(folder)
        wrong = [command for command, text in said.items() if text is None or form.named not in text]
        return ("WRONG" if wrong else "refused"), (None, None), (f"not by {', '.join(wrong)}: " if wrong else "") + str(said["score"])
    trained = None if is_by_hand(form) else logprobs(model, rows)
    try:
        loaded = logprobs(PeftModel.from_pretrained(base(), folder), rows)
    except Exception:
        loaded = None
    refused = {command: text for command, text in trainer.all_five(folder).items() if text is not None}
    if refused:
        return "WRONG", (None, None), str(refused)
    ours = [[token["logprob"] for row in trainer.score(*named) for token in row["tokens"]] for named in ((folder,), (None, trainer.out / "merged"))]
    far = [None if other is None else max(abs(a - b) for mine in ours for a, b in zip(mine, other, strict=True)) for other in (trained, loaded)]
    right = any(one is not None for one in far) and all(one is None or one < TOLERANCE for one in far)
    return ("equal" if right else "WRONG"), far, f"mean {sum(ours[0]) / len(ours[0]):.4f}"


def is_by_hand(form):
    return bool(form.hand or form.dtype) and not form.keys


def make(form, folder, rows):
    """The adapter in its folder, and the model in memory that it was saved from."""
    torch.manual_seed(17)
    keys = {key: value(rows) if callable(value) else value for key, value in form.keys.items()}
    config = settings(form.method, keys)
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
    if form.cat:
        model.add_adapter("other", settings(form.method, keys))
        move(model)
        model.add_weighted_adapter(["default", "other"], [0.7, 0.4], "both", combination_type="cat")
        model.set_adapter("both")
        model.save_pretrained(folder.with_name(folder.name + "-all"), save_embedding_layers=False, selected_adapters=["both"])
        shutil.copytree(folder.with_name(folder.name + "-all") / "both", folder)
        return model.eval()
    before = str(folder.with_name(folder.name + "-start"))
    if form.convert:
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(before, save_embedding_layers=False)
    move(model.eval())
    more = {"path_initial_model_for_weight_conversion": before} if form.convert else {}
    model.save_pretrained(folder, save_embedding_layers=False, **more)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **form.hand}, indent=2))
    if form.dtype:
        weights = folder / "adapter_model.safetensors"
        tensors = load_file(weights)
        if form.dtype == "nan":
            next(iter(tensors.values()))[0, 0] = float("nan")
        save_file({name: tensor if form.dtype == "nan" else tensor.to(form.dtype) for name, tensor in tensors.items()}, weights, {"format": "pt"})
    return model.eval()


def settings(method, keys):
    """The config of a method, with what each has that takes it; None leaves to PEFT what it takes."""
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[method]
    usual = {"r": 4, "lora_alpha": 8} if method == "LORA" else {"num_virtual_tokens": 4}
    usual = {key: value for key, value in {**usual, "target_modules": LINEARS}.items() if key in kind.__dataclass_fields__}
    all_of_them = {**usual, "task_type": "CAUSAL_LM", **keys}
    return kind(**{key: value for key, value in all_of_them.items() if value is not None})


@torch.no_grad()
def move(model):
    """Moves what is trained, as training would."""
    for _, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.add_(0.05 * torch.randn_like(parameter))


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
        self.path, self.folder, self.rows, self.out = path, folder, folder / "rows.jsonl", folder / "out"
        self.environment = {**os.environ, "TRAINER_CACHE": str(folder / "cache"), "NO_COLOR": "1"}
        row = lambda n: {"id": f"row-{n}", "messages": [{"role": "user", "content": f"Clause {n}: which kind is it?"},
                                                       {"role": "assistant", "content": ANSWERS[n % len(ANSWERS)]}]}
        for name, of in (("rows", range(8)), ("train", range(8, 20)), ("test", range(20, 24))):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row(n)) + "\n" for n in of))
        config = {"model": {"base": str(BASE)}, "data": {"train": "train.jsonl", "test": "test.jsonl", "near_duplicates": "none"},
                  "lora": {"r": 4, "lora_alpha": 8}, "eval": {"enabled": False}, "device": {"name": "cpu"}}
        lines = lambda table: "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        text = 'version = 1\nname = "form"\n' + "".join(f"[{name}]\n{lines(table)}" for name, table in config.items())
        (folder / "config.toml").write_text(text)

    def run(self, *words):
        return subprocess.run([str(self.path), *map(str, words)], capture_output=True, text=True, env=self.environment)

    def score(self, adapter, model=BASE):
        """The rows token by token."""
        words = ["score", "--tokens", "--json", "--device", "cpu", "--model", model, *(["--adapter", adapter] if adapter else []), self.rows]
        done = self.run(*words)
        if done.returncode != 0:
            sys.exit(f"{adapter or model}: exit code {done.returncode}\n{done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def all_five(self, adapter):
        """Why each command refuses an adapter; None where it takes it. What they write lies in `out`."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        said = {
            "score": self.run("score", "--device", "cpu", "--model", BASE, "--adapter", adapter, self.rows),
            "merge": self.run("merge", adapter, "--model", BASE, "--dtype", "f32", "--kl-rows", "0", "--device", "cpu", "--out", self.out / "merged"),
            "export": self.run("export", adapter, "--model", BASE, "--type", "lora", "--kl-rows", "0", "--device", "cpu", "--out", self.out / "lora.gguf"),
            "init_adapter": self.run("check", self.folder / "config.toml", "--set", f"lora.init_adapter={adapter}"),
        }
        said = {command: refusal(done) for command, done in said.items()}
        if all(said.values()) and any(self.out.iterdir()):
            sys.exit(f"{adapter}: refused, and written")
        # One that would be computed need not be of the kind that this config trains.
        if said["init_adapter"] and "is another kind of adapter" in said["init_adapter"]:
            said["init_adapter"] = None
        for command, more in (("check-adapter", ["--model", BASE]), ("check-adapter without a base", [])):
            done = self.run("check-adapter", adapter, "--json", *more)
            if done.returncode != 0:
                sys.exit(f"exit code {done.returncode}: {done.args}\n{done.stderr}")
            ours = next(reader for reader in json.loads(done.stdout)["readers"] if reader["reader"] == "trainer")
            said[command] = None if ours["loads"] else str(ours["reasons"])
        return {command: text and text.replace(f"{adapter}/", "") for command, text in said.items()}


def refusal(done):
    """What a command said, if it refused; anything else than success and a refusal is the end."""
    if done.returncode == 0:
        return None
    line = next((line for line in done.stderr.splitlines() if line.startswith("error: ")), None)
    if done.returncode != 2 or line is None:
        sys.exit(f"exit code {done.returncode}: {done.args}\n{done.stderr}")
    return line.removeprefix("error: ")


def first_line(error):
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


if __name__ == "__main__":
    sys.exit(main())
