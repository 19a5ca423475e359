"""What the official clients of Anthropic, OpenAI and Google understand of the same bytes that our dialects read.

    pip install anthropic==2.12.0 openai==3.54.0 google-genai==3.4.0
    python tests/oracles/wire_streams.py            # writes eval/tests-data/wire/ anew: bodies and clients.json
    python tests/oracles/wire_streams.py --check    # the same without writing; fails when a file differs
    python tests/oracles/wire_streams.py --cases 1500 --seed 1 --out cases.json
    WIRE_STREAM_CASES=cases.json cargo test --release -p eval -- --ignored generated_streams

Each case is served over loopback in pieces of a few bytes, so that characters are split; the client parses the stream or
the plain body, and what it understood is written down: text, how the answer ended, token counts. The counts are brought to
the same totals for all clients here, independently of the code under test. Nothing leaves the machine and no key is needed.
"""
import argparse, json, os, pathlib, random, sys, threading, warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic, openai
from google import genai
from google.genai import errors as genai_errors, types as genai_types

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "eval" / "tests-data" / "wire"
TEXTS = ["Termination", "", "Zażółć gęślą jaźń 🦀🇪🇺👩‍⚖️", "a\nb\r\n\tc \"d\" \\ e", "data: not an event\n\n[DONE]", "\u2028\u2029\u0085\ufeff", "§ 3 Abs. 1 — „Kündigung“"]


# ---------------------------------------------------------------- writing bodies

def event(data, name=None, eol="\n"):
    """One event; a line break inside the JSON text is escaped there, so one `data:` line is enough."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {name}{eol}" if name else "") + f"data: {text}{eol}{eol}"


def pieces(text, rng):
    """Cuts a text into one to four pieces."""
    cuts = sorted(rng.sample(range(len(text) + 1), min(len(text) + 1, rng.randint(0, 3))))
    return [text[a:b] for a, b in zip([0] + cuts, cuts + [len(text)])]


def comment(rng, eol):
    return rng.choice(["", "", f": keep-alive{eol}{eol}", f":{eol}"])


def anthropic_bodies(a, rng):
    eol = a.get("eol", "\n")
    usage, start = dict(a["usage"]), dict(a.get("start_usage", {"input_tokens": a["usage"]["input_tokens"], "output_tokens": 1}))
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": a.get("model", "claude-x"), "content": [], "stop_reason": None, "stop_sequence": None, "usage": start}
    out, content = event({"type": "message_start", "message": message}, "message_start", eol), []
    for index, (kind, value) in enumerate(a["blocks"]):
        block, deltas = {
            "text": ({"type": "text", "text": ""}, lambda: [{"type": "text_delta", "text": p} for p in pieces(value, rng)]),
            "thinking": ({"type": "thinking", "thinking": "", "signature": ""}, lambda: [{"type": "thinking_delta", "thinking": p} for p in pieces(value, rng)] + [{"type": "signature_delta", "signature": "c2ln"}]),
            "tool_use": ({"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {}}, lambda: [{"type": "input_json_delta", "partial_json": p} for p in pieces(json.dumps(value), rng)]),
        }[kind]
        out += event({"type": "content_block_start", "index": index, "content_block": block}, "content_block_start", eol)
        for delta in deltas():
            out += comment(rng, eol) + rng.choice(["", "", event({"type": "ping"}, "ping", eol)])
            out += event({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta", eol)
        out += event({"type": "content_block_stop", "index": index}, "content_block_stop", eol)
        content.append({"text": {"type": "text", "text": value}, "thinking": {"type": "thinking", "thinking": value, "signature": "c2ln"},
                        "tool_use": {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": value}}[kind])
    end = {"stop_reason": a["stop"], "stop_sequence": None}
    if "details" in a:
        end["stop_details"] = a["details"]
    out += event({"type": "message_delta", "delta": end, "usage": a.get("delta_usage", {"output_tokens": usage["output_tokens"]})}, "message_delta", eol)
    out += event({"type": "message_stop"}, "message_stop", eol)
    return {"stream": out, "plain": json.dumps({**message, "content": content, **end, "usage": usage}, ensure_ascii=False)}


def chat_bodies(a, rng):
    eol = a.get("eol", "\n")
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": a.get("model", "gpt-x"), "service_tier": "default"}
    def one(delta, reason=None, **more):
        return comment(rng, eol) + event({**chunk, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason, **more}], "usage": None, "obfuscation": "x" * rng.randint(0, 5)}, None, eol)
    out = one({"role": "assistant", "content": "", "refusal": None})
    for key in ("content", "refusal"):
        for p in pieces(a[key], rng) if a.get(key) else []:
            out += one({key: p})
    if a.get("reasoning"):
        out += one({"reasoning_content": a["reasoning"]})
    tools = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}] if a.get("tool") else []
    if tools:
        out += one({"tool_calls": tools})
    out += one({}, a["stop"], **a.get("choice", {}))
    if a.get("usage"):
        out += event({**chunk, "choices": [], "usage": a["usage"]}, None, eol)
    if a.get("done", True):
        out += event("[DONE]", None, eol)
    message = {"role": "assistant", "content": a.get("content") or None, "refusal": a.get("refusal") or None}
    if tools:
        message["tool_calls"] = [{k: v for k, v in tools[0].items() if k != "index"}]
    plain = {**chunk, "object": "chat.completion", "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": a["stop"], **a.get("choice", {})}]}
    if a.get("usage"):
        plain["usage"] = a["usage"]
    return {"stream": out, "plain": json.dumps(plain, ensure_ascii=False)}


def responses_bodies(a, rng):
    eol, output, number = a.get("eol", "\n"), [], iter(range(10_000))
    def one(kind, **more):
        return comment(rng, eol) + event({"type": kind, "sequence_number": next(number), **more}, kind, eol)
    response = {"id": "resp_1", "object": "response", "created_at": 1, "model": a.get("model", "gpt-x"), "status": "in_progress", "output": [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "temperature": 1.0, "top_p": 1.0, "usage": None}
    out = one("response.created", response=response) + one("response.in_progress", response=response)
    if a.get("reasoning"):
        output.append({"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": a["reasoning"]}]})
    parts = []
    for key, kind in (("content", "output_text"), ("refusal", "refusal")):
        if a.get(key) is not None:
            for p in pieces(a[key], rng):
                out += one(f"response.{kind}.delta", item_id="msg_1", output_index=len(output), content_index=len(parts), delta=p, **({"logprobs": []} if kind == "output_text" else {}))
            parts.append({"type": "output_text", "text": a[key], "annotations": []} if kind == "output_text" else {"type": "refusal", "refusal": a[key]})
    if parts:
        output.append({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": parts})
    if a.get("tool"):
        output.append({"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": "{}", "status": "completed"})
    status = "incomplete" if a.get("incomplete") else "completed"
    whole = {**response, "status": status, "output": output, "usage": a["usage"], "incomplete_details": {"reason": a["incomplete"]} if a.get("incomplete") else None}
    out += one(f"response.{status}", response=whole)
    return {"stream": out, "plain": json.dumps(whole, ensure_ascii=False)}


def gemini_bodies(a, rng):
    # Google's client reads only lines that begin with `data: `, so no comments here.
    eol, whole = a.get("eol", "\r\n"), []
    for text, thought in a["parts"]:
        whole += [{"text": p, **({"thought": True} if thought else {})} for p in pieces(text, rng)]
    if a.get("tool"):
        whole.append({"functionCall": {"name": "look_up", "args": {}}})
    names = {"modelVersion": a.get("model", "gemini-x"), "responseId": "r1"}
    if a.get("blocked"):
        plain = {"promptFeedback": {"blockReason": a["blocked"]}, "usageMetadata": a["usage"], **names}
        return {"stream": event(plain, None, eol), "plain": json.dumps(plain)}
    out = ""
    for index, part in enumerate(whole):
        counts = {"promptTokenCount": a["usage"]["promptTokenCount"], "totalTokenCount": index}
        out += event({"candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0}], "usageMetadata": counts, **names}, None, eol)
    end = {"finishReason": a["stop"], "index": 0}
    out += event({"candidates": [{"content": {"parts": [{"text": ""}], "role": "model"}, **end}], "usageMetadata": a["usage"], **names}, None, eol)
    plain = {"candidates": [{"content": {"parts": whole, "role": "model"}, **end}], "usageMetadata": a["usage"], **names}
    return {"stream": out, "plain": json.dumps(plain, ensure_ascii=False)}


BODIES = {"anthropic": anthropic_bodies, "openai": chat_bodies, "openai-responses": responses_bodies, "gemini": gemini_bodies, "openai-compatible": chat_bodies}


# ---------------------------------------------------------------- the nasty ones

def chosen(rng):
    """Cases written by hand: (dialect, name, form, body, status)."""
    cases = []
    def both(dialect, name, **answer):
        bodies = BODIES[dialect](answer, rng)
        cases.extend((dialect, name, form, bodies[form], 200) for form in ("stream", "plain"))
    def raw(dialect, name, form, body, status=200):
        cases.append((dialect, name, form, body, status))

    usage = {"input_tokens": 12, "output_tokens": 34}
    both("anthropic", "answer", blocks=[("text", "Termination")], stop="end_turn", usage=usage)
    both("anthropic", "crlf-emoji", blocks=[("text", TEXTS[2])], stop="stop_sequence", usage=usage, eol="\r\n")
    both("anthropic", "line-separators", blocks=[("text", TEXTS[5]), ("text", TEXTS[4])], stop="end_turn", usage=usage)
    both("anthropic", "thinking", blocks=[("thinking", "Let me see 🤔"), ("text", "Yes.")], stop="end_turn", usage={**usage, "output_tokens_details": {"thinking_tokens": 30}},
         delta_usage={"output_tokens": 34, "output_tokens_details": {"thinking_tokens": 30}})
    both("anthropic", "refusal-without-category", blocks=[("text", "I can")], stop="refusal", details={"type": "refusal", "category": None, "explanation": None}, usage=usage)
    both("anthropic", "refusal-cyber", blocks=[], stop="refusal", details={"type": "refusal", "category": "cyber", "explanation": "policy"}, usage={**usage, "output_tokens": 0})
    both("anthropic", "max-tokens", blocks=[("text", "The clause say")], stop="max_tokens", usage=usage)
    both("anthropic", "pause-turn", blocks=[("text", "One moment")], stop="pause_turn", usage=usage)
    both("anthropic", "context-window", blocks=[("text", "half")], stop="model_context_window_exceeded", usage=usage)
    both("anthropic", "tool-use", blocks=[("text", "I look it up."), ("tool_use", {"q": "§ 3 ü"})], stop="tool_use", usage=usage)
    both("anthropic", "unknown-reason", blocks=[("text", "?")], stop="brand_new_reason", usage=usage)
    # The first golden case of a real invoice: 3 input, 12,304 written to the cache, 550 output.
    golden = {"input_tokens": 3, "cache_creation_input_tokens": 12304, "cache_read_input_tokens": 0, "output_tokens": 550}
    both("anthropic", "golden-cache-write", blocks=[("text", "ok")], stop="end_turn", usage=golden,
         start_usage={**golden, "output_tokens": 4, "cache_creation": {"ephemeral_5m_input_tokens": 12304, "ephemeral_1h_input_tokens": 0}}, delta_usage=golden)
    # The second: 4 uncached, 2,455 read, 23 output.
    golden = {"input_tokens": 4, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2455, "output_tokens": 23}
    both("anthropic", "golden-cache-read", blocks=[("text", "ok")], stop="end_turn", usage=golden, start_usage={**golden, "output_tokens": 1}, delta_usage={"output_tokens": 23})
    counts = {"input_tokens": 7, "cache_creation_input_tokens": 900, "cache_read_input_tokens": 100, "output_tokens": 5, "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 600}}
    both("anthropic", "hour-cache", blocks=[("text", "ok")], stop="end_turn", usage=counts, start_usage={**counts, "output_tokens": 1}, delta_usage={"output_tokens": 5, "input_tokens": None})
    start = event({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [], "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1}}}, "message_start")
    start += event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}, "content_block_start")
    start += event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Half ä"}}, "content_block_delta")
    raw("anthropic", "error-after-200", "stream", start + event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error"))
    raw("anthropic", "cut", "stream", start)
    for status, kind in ((400, "invalid_request_error"), (401, "authentication_error"), (413, "request_too_large"), (429, "rate_limit_error"), (500, "api_error"), (529, "overloaded_error")):
        raw("anthropic", f"status-{status}", "plain", json.dumps({"type": "error", "error": {"type": kind, "message": "sorry"}, "request_id": "req_1"}), status)

    usage = {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}
    cached = {"prompt_tokens": 2459, "completion_tokens": 23, "total_tokens": 2482, "prompt_tokens_details": {"cached_tokens": 2455, "audio_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}}
    for dialect in ("openai", "openai-compatible"):
        both(dialect, "answer", content="Termination", stop="stop", usage=usage)
        both(dialect, "crlf-emoji", content=TEXTS[2] + TEXTS[3], stop="stop", usage=usage, eol="\r\n")
        both(dialect, "length", content="The clause say", stop="length", usage=usage)
        both(dialect, "without-usage", content="ok", stop="stop", usage=None)
        both(dialect, "without-done", content="ok", stop="stop", usage=usage, done=False)
        both(dialect, "tool-calls", content="", stop="tool_calls", tool=True, usage=usage)
    both("openai", "line-separators", content=TEXTS[5] + TEXTS[4], stop="stop", usage=usage)
    both("openai", "refusal", content="", refusal="I'm sorry, I can't 🙅.", stop="stop", usage=usage)
    both("openai", "content-filter", content="Half", stop="content_filter", usage=usage)
    both("openai", "forced-tool", content="", stop="stop", tool=True, usage=usage)
    both("openai", "golden-cache-read", content="ok", stop="stop", usage=cached)
    both("openai", "reasoning", content="Yes.", stop="stop", usage={**usage, "completion_tokens_details": {"reasoning_tokens": 30}})
    both("openai", "cache-write", content="Yes.", stop="stop", usage={**usage, "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 6}})
    both("openai-compatible", "reasoning-content", content="Yes.", reasoning="Hm, let me see", stop="stop", usage=usage)
    both("openai-compatible", "unknown-reason", content="Half", stop="abort", usage=usage)
    first = event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": "Half ä"}, "finish_reason": None}]})
    raw("openai", "error-after-200", "stream", first + event({"error": {"message": "The server had an error", "type": "server_error", "param": None, "code": None}}))
    raw("openai", "cut", "stream", first)
    errors = ((401, "invalid_request_error", "invalid_api_key"), (429, "insufficient_quota", "insufficient_quota"), (429, "tokens", "rate_limit_exceeded"), (500, "server_error", None))
    for status, kind, code in errors:
        raw("openai", f"status-{status}-{code or kind}".replace("_", "-"), "plain", json.dumps({"error": {"message": "sorry", "type": kind, "param": None, "code": code}}), status)

    usage = {"input_tokens": 12, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 6}, "output_tokens": 34, "output_tokens_details": {"reasoning_tokens": 30}, "total_tokens": 46}
    both("openai-responses", "answer", content="Termination", reasoning="Hm", usage=usage)
    both("openai-responses", "crlf-emoji", content=TEXTS[2], usage=usage, eol="\r\n")
    both("openai-responses", "refusal", refusal="I can't 🙅.", usage=usage)
    both("openai-responses", "max-output-tokens", content="The clause say", incomplete="max_output_tokens", usage=usage)
    both("openai-responses", "content-filter", content="Half", incomplete="content_filter", usage=usage)
    both("openai-responses", "function-call", tool=True, usage=usage)
    created = event({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "Half ä", "sequence_number": 0, "logprobs": []}, "response.output_text.delta")
    raw("openai-responses", "cut", "stream", created)

    usage = {"promptTokenCount": 12, "candidatesTokenCount": 4, "totalTokenCount": 46, "thoughtsTokenCount": 30, "cachedContentTokenCount": 2}
    both("gemini", "answer", parts=[("Termination", False)], stop="STOP", usage=usage)
    both("gemini", "thoughts-emoji", parts=[("Hm 🤔", True), (TEXTS[2], False)], stop="STOP", usage=usage)
    both("gemini", "line-feeds", parts=[(TEXTS[3] + TEXTS[5], False)], stop="STOP", usage=usage, eol="\n")
    both("gemini", "max-tokens", parts=[("The cl", False)], stop="MAX_TOKENS", usage=usage)
    both("gemini", "safety", parts=[("Half", False)], stop="SAFETY", usage=usage)
    both("gemini", "blocked", parts=[], blocked="PROHIBITED_CONTENT", stop=None, usage={"promptTokenCount": 12, "totalTokenCount": 12})
    both("gemini", "function-call", parts=[("I look it up.", False)], stop="STOP", tool=True, usage=usage)
    both("gemini", "malformed-call", parts=[], stop="MALFORMED_FUNCTION_CALL", usage=usage)
    day = {"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]}}
    raw("gemini", "status-429", "plain", json.dumps(day), 429)
    raw("gemini", "status-503-list", "plain", json.dumps([{"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}]), 503)
    return cases


# ---------------------------------------------------------------- the generated ones

def generated(rng, number):
    cases = []
    text = lambda: "".join(rng.choice(TEXTS + ["x", " ", "é", "🦀"]) for _ in range(rng.randint(0, 4)))
    count = lambda most=5000: rng.randint(0, most)
    for index in range(number):
        dialect, eol = list(BODIES)[index % 5], rng.choice(["\n", "\r\n"])
        if dialect == "anthropic":
            short, long, output = count(), count(), count() + 1
            usage = {"input_tokens": count(), "output_tokens": output, "cache_creation_input_tokens": short + long, "cache_read_input_tokens": count(), "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}, "output_tokens_details": {"thinking_tokens": rng.randint(0, output)}}
            blocks = [(kind, {"q": text()} if kind == "tool_use" else text()) for kind in rng.choices(["text", "thinking", "tool_use"], [6, 3, 1], k=rng.randint(0, 3))]
            stop = rng.choice(["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded", "new_reason"])
            delta = {key: usage[key] for key in usage if key != "cache_creation" and (key.startswith("output") or rng.random() < 0.5)}
            answer = dict(blocks=blocks, stop=stop, usage=usage, start_usage={**usage, "output_tokens": 1, "output_tokens_details": None}, delta_usage=delta, eol=eol)
            if stop == "refusal":
                answer["details"] = {"type": "refusal", "category": rng.choice([None, "cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms"]), "explanation": None}
        elif dialect in ("openai", "openai-compatible"):
            read, written, plain, visible, thought = count(), count(), count(), count(), count()
            usage = {"prompt_tokens": read + written + plain, "completion_tokens": visible + thought, "total_tokens": read + written + plain + visible + thought, "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written}, "completion_tokens_details": {"reasoning_tokens": thought}}
            answer = dict(content=text(), refusal=text() if rng.random() < 0.2 else "", tool=rng.random() < 0.1, stop=rng.choice(["stop", "length", "content_filter", "tool_calls"]), usage=usage if rng.random() < 0.9 else None, done=rng.random() < 0.9, eol=eol, reasoning=text() if dialect == "openai-compatible" else None)
        elif dialect == "openai-responses":
            read, written, plain, visible, thought = count(), count(), count(), count(), count()
            usage = {"input_tokens": read + written + plain, "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": written}, "output_tokens": visible + thought, "output_tokens_details": {"reasoning_tokens": thought}, "total_tokens": 0}
            answer = dict(content=text(), refusal=text() or None if rng.random() < 0.2 else None, reasoning=text(), tool=rng.random() < 0.1, incomplete=rng.choice([None, None, "max_output_tokens", "content_filter"]), usage=usage, eol=eol)
        else:
            read = count()
            usage = {"promptTokenCount": read + count(), "cachedContentTokenCount": read, "candidatesTokenCount": count(), "thoughtsTokenCount": count(), "toolUsePromptTokenCount": rng.choice([0, 0, 17]), "totalTokenCount": 1}
            answer = dict(parts=[(text(), rng.random() < 0.3) for _ in range(rng.randint(0, 3))], stop=rng.choice(["STOP", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER"]), tool=rng.random() < 0.1, blocked=rng.choice([None] * 9 + ["SAFETY"]), usage=usage, eol=eol)
        bodies = BODIES[dialect](answer, rng)
        cases.extend((dialect, f"generated-{index}", form, bodies[form], 200) for form in ("stream", "plain"))
    return cases


# ---------------------------------------------------------------- serving and asking

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cases = []

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        number = int(self.path.split("/")[1])
        _, _, form, body, status = self.cases[number]
        body = body.encode()
        self.send_response(status)
        self.send_header("content-type", "text/event-stream" if form == "stream" else "application/json")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        rng = random.Random(number)
        while body:
            size = rng.randint(1, 9) if form == "stream" else len(body)
            piece, body = body[:size], body[size:]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


def understood(text, finish, category, model, usage):
    return {"text": text, "finish": finish, "category": category, "model": model, "usage": usage}


def totals(whole, read, written, output, reasoning):
    return {"input": whole, "cache_read": read or 0, "cache_write": written or 0, "output": output, "reasoning": reasoning or 0}


def ask_anthropic(url, form):
    client = anthropic.Anthropic(api_key="none", base_url=url, max_retries=0)
    asked = dict(model="m", max_tokens=9, messages=[{"role": "user", "content": "q"}])
    try:
        if form == "stream":
            with client.messages.stream(**asked) as stream:
                message = stream.get_final_message()
        else:
            message = client.messages.create(**asked)
    except anthropic.APIStatusError as error:
        return {"error": error.body["error"]["type"]}
    finish = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "model_context_window_exceeded": "length", "pause_turn": "length", "refusal": "refusal", "tool_use": "tool", None: "none"}.get(message.stop_reason, "unknown")
    text = "".join(block.text for block in message.content if block.type == "text")
    u, details = message.usage, message.stop_details
    read, written = u.cache_read_input_tokens or 0, u.cache_creation_input_tokens or 0
    thoughts = u.output_tokens_details.thinking_tokens if u.output_tokens_details else 0
    return understood(text, finish, details.category if details else None, message.model, totals(u.input_tokens + read + written, read, written, u.output_tokens, thoughts))


def chat_finish(reason, refused, tool):
    if reason == "stop" and refused:
        return "refusal"
    if reason == "stop" and tool:
        return "tool"
    return {"stop": "stop", "length": "length", "content_filter": "content_filter", "tool_calls": "tool", "function_call": "tool", None: "none"}.get(reason, "unknown")


def ask_chat(url, form):
    client = openai.OpenAI(api_key="none", base_url=url, max_retries=0)
    asked = dict(model="m", messages=[{"role": "user", "content": "q"}])
    text, refused, tool, reason, usage, model = "", False, False, None, None, None
    try:
        if form == "stream":
            for chunk in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
                model, usage = chunk.model, chunk.usage or usage
                for choice in chunk.choices:
                    text += (choice.delta.content or "") + (choice.delta.refusal or "")
                    refused |= bool(choice.delta.refusal)
                    tool |= bool(choice.delta.tool_calls)
                    reason = choice.finish_reason or reason
        else:
            completion = client.chat.completions.create(**asked)
            choice, usage, model = completion.choices[0], completion.usage, completion.model
            text = (choice.message.content or "") + (choice.message.refusal or "")
            refused, tool, reason = bool(choice.message.refusal), bool(choice.message.tool_calls), choice.finish_reason
    except openai.APIError as error:
        return {"error": error.code or error.type}
    if usage:
        read = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
        written = usage.prompt_tokens_details.cache_write_tokens if usage.prompt_tokens_details else 0
        thoughts = usage.completion_tokens_details.reasoning_tokens if usage.completion_tokens_details else 0
        usage = totals(usage.prompt_tokens, read, written, usage.completion_tokens, thoughts)
    return understood(text, chat_finish(reason, refused, tool), None, model, usage)


def ask_responses(url, form):
    client = openai.OpenAI(api_key="none", base_url=url, max_retries=0)
    response, streamed = None, ""
    try:
        if form == "stream":
            for item in client.responses.create(model="m", input="q", stream=True):
                if item.type in ("response.output_text.delta", "response.refusal.delta"):
                    streamed += item.delta
                if item.type in ("response.completed", "response.incomplete", "response.failed"):
                    response = item.response
        else:
            response = client.responses.create(model="m", input="q")
    except openai.APIError as error:
        return {"error": error.code or error.type}
    if response is None:
        return understood(streamed, "none", None, None, None)
    parts = [part for item in response.output if item.type == "message" for part in item.content]
    refusals = [part.refusal for part in parts if part.type == "refusal"]
    text = response.output_text + "".join(refusals)
    assert form == "plain" or text == streamed, (text, streamed)
    if response.status == "incomplete":
        finish = {"max_output_tokens": "length", "content_filter": "content_filter"}.get(response.incomplete_details.reason, "unknown")
    else:
        finish = chat_finish("stop", any(refusals), any(item.type == "function_call" for item in response.output))
    u = response.usage
    return understood(text, finish, None, response.model, totals(u.input_tokens, u.input_tokens_details.cached_tokens, u.input_tokens_details.cache_write_tokens, u.output_tokens, u.output_tokens_details.reasoning_tokens))


def ask_gemini(url, form):
    options = genai_types.HttpOptions(base_url=url, retry_options=genai_types.HttpRetryOptions(attempts=1))
    client = genai.Client(api_key="none", http_options=options)
    text, tool, reason, blocked, usage, model = "", False, None, None, None, None
    try:
        if form == "stream":
            answers = list(client.models.generate_content_stream(model="m", contents="q"))
        else:
            answers = [client.models.generate_content(model="m", contents="q")]
    except genai_errors.APIError as error:
        return {"error": error.status}
    for answer in answers:
        model, usage = answer.model_version, answer.usage_metadata or usage
        if answer.prompt_feedback and answer.prompt_feedback.block_reason:
            blocked = answer.prompt_feedback.block_reason.value
        for candidate in answer.candidates or []:
            for part in (candidate.content.parts if candidate.content else None) or []:
                text += part.text if part.text and not part.thought else ""
                tool |= bool(part.function_call)
            reason = candidate.finish_reason.value if candidate.finish_reason else reason
    finish = "refusal" if blocked else {"STOP": "tool" if tool else "stop", "MAX_TOKENS": "length", None: "none"}.get(reason, "refusal")
    category = blocked or (reason if finish == "refusal" else None)
    output, thoughts = usage.candidates_token_count or 0, usage.thoughts_token_count or 0
    whole = usage.prompt_token_count + (usage.tool_use_prompt_token_count or 0)
    return understood(text, finish, category, model, totals(whole, usage.cached_content_token_count, 0, output + thoughts, thoughts))


ASK = {"anthropic": ask_anthropic, "openai": ask_chat, "openai-responses": ask_responses, "gemini": ask_gemini, "openai-compatible": ask_chat}


def waits():
    """How long the clients of Anthropic and OpenAI would wait for these headers; they have one rule."""
    import httpx2
    headers = [{"retry-after": v} for v in ("1", "0.5", "60", "0", "-1", "nonsense", "1e1", " 7 ")]
    headers += [{"retry-after-ms": "1500", "retry-after": "9"}, {"retry-after-ms": "x", "retry-after": "9"}, {"retry-after-ms": "250"}, {}]
    clients = [anthropic.Anthropic(api_key="none"), openai.OpenAI(api_key="none")]
    found = []
    for pairs in headers:
        said = {client._parse_retry_after_header(httpx2.Headers(pairs)) for client in clients}
        assert len(said) == 1, (pairs, said)
        found.append({"headers": pairs, "secs": said.pop()})
    return found


def run(cases):
    Handler.cases = cases
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    told = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, (dialect, name, form, _, status) in enumerate(cases):
            url = f"http://127.0.0.1:{server.server_address[1]}/{number}"
            told.append({"dialect": dialect, "name": name, "form": form, "status": status, "understood": ASK[dialect](url, form)})
    server.shutdown()
    return told


def file_of(case):
    dialect, name, form = (case[key] for key in ("dialect", "name", "form"))
    return f"{dialect}/{name}.{'sse' if form == 'stream' else 'json'}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed files instead of writing them")
    parser.add_argument("--cases", type=int, default=0, help="generated answers, each in both forms")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="where generated cases go, as one JSON file")
    args = parser.parse_args()
    if args.cases:
        cases = generated(random.Random(args.seed), args.cases)
        told = [{**case, "body": body[3]} for case, body in zip(run(cases), cases)]
        pathlib.Path(args.out).write_text(json.dumps(told), encoding="utf-8")
        print(f"{len(told)} cases", file=sys.stderr)
        return 0
    cases = chosen(random.Random(args.seed))
    told = run(cases)
    files = {file_of(case): body[3].encode() for case, body in zip(told, cases)}
    clients = {"anthropic": anthropic.__version__, "openai": openai.__version__, "google-genai": genai.__version__}
    summary = {"clients": clients, "cases": [{"file": file_of(case), **case} for case in told], "waits": waits()}
    files["clients.json"] = (json.dumps(summary, ensure_ascii=False, indent=1) + "\n").encode()
    assert len(files) == len(cases) + 1, "two cases share a name"
    if args.check:
        there = {str(path.relative_to(FOLDER)): path.read_bytes() for path in FOLDER.rglob("*.*") if path.is_file()}
        differing = sorted(name for name in files.keys() | there.keys() if files.get(name) != there.get(name))
        print("\n".join(f"differs: {name}" for name in differing) or f"{len(files)} files agree")
        return 1 if differing else 0
    for name, body in files.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    print(f"{len(files)} files", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
