"""The case `tiny-chat`: a byte-level BPE tokenizer with ChatML around a tiny llama, so that tests can run the whole
program on a chat model without a network. Part of generate.py; not run by itself.
"""
import json

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# In the order in which they apply. `Ġ` is how byte-level BPE writes a space.
MERGES = """Ġ t|h e|i n|o n|e r|r e|a t|o r|e n|Ġ a|Ġt he|i s|i t|e s|a n|t i|Ġ s|Ġ w|Ġ o|Ġ c|a l|l e|n d|o u|a r|in g|e d|r o|u s
i c|ti on|Ġ b|Ġ p|Ġ f|Ġo f|s t|Ġa nd|us er|s y|st e|sy ste|syste m|a s|s is|as sis|t an|tan t|assis tant""".replace("\n", "|").split("|")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
QUESTION = [{"role": "user", "content": "Which law governs this Agreement?"}]
CHATS = [
    (QUESTION, True),
    ([{"role": "system", "content": "Answer with the label only."}, *QUESTION, {"role": "assistant", "content": "governing law"}], False),
    # Digits are split one by one before the byte level; runs of spaces, accents and emoji stay bytes.
    ([{"role": "user", "content": "a  2024 café, § 12.5%\n\n\tdon't 日本 🙂 <|im_end|>x"}, {"role": "assistant", "content": "  termination "}], False),
]


def vocabulary():
    bytes_first = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = SPECIAL + bytes_first + [merge.replace(" ", "") for merge in MERGES]
    assert len(set(tokens)) == len(tokens), "a merge is listed twice"
    return {token: i for i, token in enumerate(tokens)}


def config():
    return LlamaConfig(vocab_size=len(vocabulary()), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                       num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True,
                       bos_token_id=1, eos_token_id=2, pad_token_id=2)


def write_tokenizer(folder):
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary(), merges=[tuple(merge.split(" ")) for merge in MERGES]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1024, "add_prefix_space": False,
        "clean_up_tokenization_spaces": False, "bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>", "unk_token": "<|endoftext|>", "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def rendered_chats(folder):
    """What transformers makes of the folder: the text of each chat, and its ids with no special token added."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for messages, prompt in CHATS:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text, "byte-level BPE loses nothing"
        rows.append({"messages": messages, "add_generation_prompt": prompt, "text": text, "ids": ids})
    return rows
