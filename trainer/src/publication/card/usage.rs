//! How to ask an adapter and how to load it, for each program that can. Knows names and the rank; tries nothing.

use eval::report::escape::{fence, quoted};

use super::{Facts, stated};

/// Prompt and programs.
pub(super) fn section(facts: &Facts<'_>) -> String {
    let (repo, base, name) = (facts.repo, facts.base_on_hub(), facts.name());
    let rank = stated(&facts.summary["vllm_max_lora_rank"]);
    format!(
        "## How to use it\n\n{prompt}\n\n\
         transformers and PEFT:\n\n```python\n\
         from peft import AutoPeftModelForCausalLM\n\
         from transformers import AutoTokenizer\n\n\
         model = AutoPeftModelForCausalLM.from_pretrained(\"{repo}\")\n\
         tokenizer = AutoTokenizer.from_pretrained(\"{repo}\")\n\
         messages = {messages}\n\
         ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors=\"pt\")\n\
         answer = model.generate(**ids, do_sample=False)\n\
         print(tokenizer.decode(answer[0, ids[\"input_ids\"].size(1):], skip_special_tokens=True))\n```\n\n\
         vLLM:\n\n```sh\n\
         vllm serve {base} --enable-lora --max-lora-rank {rank} --lora-modules {name}={repo}\n```\n\n\
         llama.cpp, with the base as `base.gguf`:\n\n```sh\n\
         trainer export {repo} --type lora --out {name}.gguf\n\
         llama-cli -m base.gguf --lora {name}.gguf\n```\n\n\
         mistral.rs:\n\n```sh\n\
         mistralrs serve -m {base} --lora {repo}\n```\n\n\
         trainer:\n\n```sh\n\
         trainer pull {repo}      # fetches the base too, and says what BASE is\n\
         trainer generate --model BASE --adapter {repo} \"...\"\n```\n\n\
         Right after it was written, trainer opened the adapter again: it gave the same log-probabilities as in memory, and others than the base alone.\n\
         The other programs read the same files; they were not run for this card.",
        prompt = prompt(facts),
        messages = messages(facts),
    )
}

fn prompt(facts: &Facts<'_>) -> String {
    let settings = &facts.summary["settings"];
    let mut lines =
        vec!["Ask it as it was trained: with its own chat template, which is part of the tokenizer here".to_owned()];
    match settings["data"]["system"].as_str() {
        Some(system) => lines.push(format!("and this system message:\n\n{}", fence("text", system))),
        None => lines.push("and no system message of your own.".to_owned()),
    }
    if let Some(template) = settings["prompt_template"].as_str() {
        lines.push(format!("\nThe user message stands in this template:\n\n{}", fence("text", template)));
    }
    if let Some(sets) = settings["model"].get("template") {
        lines.push(format!(
            "\nThe chat template here sets these variables unless it is told otherwise:\n\n{}\n\n\
             A program that takes the chat template of the base instead of the one here has to be told them. \
             llama.cpp is one, and sets `enable_thinking` itself. It takes them with each request as \
             `chat_template_kwargs`, and so does vLLM.",
            fence("json", &sets.to_string())
        ));
    }
    lines.join("\n")
}

fn messages(facts: &Facts<'_>) -> String {
    let user = "{\"role\": \"user\", \"content\": \"...\"}";
    match facts.summary["settings"]["data"]["system"].as_str() {
        Some(system) => {
            format!("[{{\"role\": \"system\", \"content\": {}}}, {user}]", quoted(system.trim_end()))
        }
        None => format!("[{user}]"),
    }
}
