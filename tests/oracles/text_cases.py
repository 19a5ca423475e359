"""Generated texts and what sacrebleu, rouge-score and NLTK say about them: the oracle for `eval/src/text/`.

    pip install -r tests/oracles/requirements.txt
    python tests/oracles/text_cases.py --cases 2500 --seed 1 CASES.json
    TEXT_CASES=CASES.json cargo test --release -p eval text_cases -- --ignored --nocapture

The small sample that every test run checks is made by

    python tests/oracles/text_cases.py --cases 48 --seed 7 --short eval/tests-data/text/cases.json

Needs sacrebleu 2.6.0, rouge-score 0.1.2 and nltk 3.10.4. 2,500 cases take a few minutes, most of it TER of long texts.
Equal arguments give equal files. Unicode tables differ between versions of Python and Rust, so that only letters that
have been there since Unicode 14 (Python 3.11) are drawn.
"""
import argparse, json, pathlib, random

import nltk
from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF, TER

ENGLISH = """the a of to and in that is was for it with as his on be at by had not are but from have this they which one you
were all her she there would their we him been has when who will no more if out so what up said about than its into them can only
party parties agreement terminate terminates terminated terminating termination liability liabilities liable obligation obligations
written notice noticed noticing Company company's shall may must hereby herein provided however including limited indemnify
indemnified indemnification confidential confidentiality disclosing disclosed governing governed law laws relational rationally
conditional generalizations happiness hopefully hopefulness dying lying news innings proceed skies flies tied agreed feeding hopping
falling fizzed national nationalities operator operators feudalism decisively sensitivity radically geology philology
Monday January 2024 1990s 12,500.75 3.14 $1,000 50% U.S. e.g. i.e. No.7 A-1 state-of-the-art co-operate 10-12 10-K don't it's
"quoted" (bracketed) [x] {y} a/b and/or me@example.com https://example.com/a?b=c&d=e &amp; &lt;b&gt; &quot;q&quot; <skipped> -- ...""".split()
OTHER = """Договор расторгается стороны обязательство № Ελλάδα ΟΔΟΣ ΣΟΦΟΣ Σ İstanbul ISPARTA Straße GROSSE ŒUVRE café cafe\u0301 naïve
ÅNGSTRÖM \u212bngström \u212aelvin 条約は終了した 合同终止 ，。 「引用」 계약 해지 العقد ملغى १२३ अनुबंध समाप्त สัญญา 👍 👩‍⚖️ 🇩🇪 — – … “curly” ‘single’ «guillemets»
€5 £6 ½ ² ǅ ﬁnal ＦＵＬＬ １２，３ ௧ \u0660.\u0661 \u00b7 x\u200by soft\u00adhyphen""".split()
SPACES = [" "] * 60 + ["  ", "\n", "\n", "\n", "-\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2009", "\u0085", "\u001c", "\u001f", "\u2028", "\n\n"]
CHARACTERS = list("aabbccde  ..,,--''\"0123456789!?()[]{}<>&;:/\\|~^_`@#$%*+=\n") + list("éßжШ条अ👍\u0301\u00a0ΣσΑ")
SUFFIXES = """s es ies ied ed eed ing y ational tional enci anci izer bli alli entli eli ousli ization ation ator alism iveness fulness
ousness aliti iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent ion sion tion
ou ism ate iti ous ive ize e ll ss sses at bl iz""".split()


def draw_text(rng, long):
    style = rng.random()
    if style < 0.03:
        return rng.choice(["", " ", "\n", ".", "-", "<skipped>", "a"])
    if style < 0.15:
        return "".join(rng.choice(CHARACTERS) for _ in range(rng.randint(1, 120)))
    if style < 0.40:
        # Few different words: many ties between shifts and between common subsequences.
        words = rng.sample(ENGLISH, rng.randint(1, 8))
    elif style < 0.75:
        words = ENGLISH
    elif style < 0.90:
        words = ENGLISH[:60] + OTHER
    else:
        words = OTHER
    length = rng.randint(1, 40)
    if long:
        length = rng.randint(60, 120) if rng.random() < 0.9 else rng.randint(120, 300)
    parts = []
    for _ in range(length):
        word = rng.choice(words)
        chance = rng.random()
        if chance < 0.05:
            word = word.upper()
        elif chance < 0.10:
            word = word.capitalize()
        if chance > 0.88:
            word += rng.choice([".", ",", ";", ":", "!", "?", ")", "...", ".)", "'s", "-"])
        parts.append(word)
        parts.append(rng.choice(SPACES))
    return "".join(parts)


def edit(rng, text):
    """Another text that shares much with this one: blocks moved, words changed."""
    words = text.split(" ")
    for _ in range(rng.randint(0, 6)):
        if not words:
            break
        at = rng.randrange(len(words))
        end = min(len(words), at + rng.randint(1, 14))
        chance = rng.random()
        if chance < 0.4:
            block = words[at:end]
            del words[at:end]
            to = rng.randint(0, len(words))
            words[to:to] = block
        elif chance < 0.6:
            del words[at : min(end, at + 3)]
        elif chance < 0.8:
            words[at:at] = [rng.choice(ENGLISH) for _ in range(rng.randint(1, 3))]
        elif chance < 0.9:
            words[at] = words[at].swapcase()
        else:
            rng.shuffle(words)
    return rng.choice([" "] * 9 + ["\n"]).join(words)


def draw_case(rng, short):
    text = draw_text(rng, not short and rng.random() < 0.03)
    count = rng.choice([1, 1, 1, 2, 3, 4])
    references = []
    for _ in range(count):
        chance = rng.random()
        references.append(text if chance < 0.05 else edit(rng, text) if chance < 0.85 else draw_text(rng, False))
    return text, references


def draw_word(rng):
    if rng.random() < 0.3:
        return "".join(rng.choice("aeiouybcdlmnrstvwxz1") for _ in range(rng.randint(3, 9)))
    stem = "".join(rng.choice("aeiouybclnrstwz") for _ in range(rng.randint(0, 5)))
    return stem + "".join(rng.choice(SUFFIXES) for _ in range(rng.randint(1, 3)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--cases", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--short", action="store_true")
    args = parser.parse_args()
    rng = random.Random(args.seed)

    metrics = {"bleu": BLEU(), "chrf": CHRF(), "chrf_plus_plus": CHRF(word_order=2), "ter": TER()}
    sentence_bleu = BLEU(effective_order=True)
    rouge = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    drawn = [draw_case(rng, args.short) for _ in range(args.cases)]
    if not args.short:
        # Lengths as of whole documents, beyond the beam of TER and over many words of a bit vector.
        drawn += [(text, [edit(rng, text)]) for text in (" ".join(rng.choices(ENGLISH, k=k)) for k in (500, 1200))]

    cases = []
    for text, references in drawn:
        sums = {
            name: [float(x) for x in metric._extract_corpus_statistics([text], [[r] for r in references])[0]]
            for name, metric in metrics.items()
        }
        # What `sentence_score` does after the statistics, which take long for TER.
        scores = {name: metric._aggregate_and_compute([sums[name]]).score for name, metric in metrics.items()}
        scores["sentence_bleu"] = sentence_bleu.sentence_score(text, references).score
        best = rouge.score_multi(references, text)
        cases.append({
            "text": text,
            "references": references,
            "tokens_13a": metrics["bleu"]._preprocess_segment(text),
            "sums": sums,
            "scores": scores,
            "rouge": {name: [float(x) for x in best[name]] for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")},
        })

    corpora = []
    for _ in range(max(4, args.cases // 40)):
        chosen = [rng.randrange(len(drawn)) for _ in range(rng.randint(1, 40))]
        hypotheses = [drawn[i][0] for i in chosen]
        most = max(len(drawn[i][1]) for i in chosen)
        streams = [[drawn[i][1][k] if k < len(drawn[i][1]) else None for i in chosen] for k in range(most)]
        scores, signatures = {}, {}
        for name, metric in metrics.items():
            # The number of references in the signature is that of the last cached ones.
            cached = type(metric)(references=streams, **({"word_order": 2} if name == "chrf_plus_plus" else {}))
            if name == "ter":
                scores[name] = cached._aggregate_and_compute([cases[i]["sums"][name] for i in chosen]).score
            else:
                scores[name] = cached.corpus_score(hypotheses, None).score
            signatures[name] = cached.get_signature().format()
        corpora.append({"cases": chosen, "scores": scores, "signatures": signatures})

    stemmer = PorterStemmer()
    words = sorted({draw_word(rng) for _ in range(args.cases * 8)} | {w for w in ENGLISH if w.isascii() and w.isalpha() and w.islower()})
    if args.short:
        words = rng.sample(words, 80)
    data = {
        "made_by": f"tests/oracles/text_cases.py --cases {args.cases} --seed {args.seed}" + (" --short" if args.short else ""),
        "nltk": nltk.__version__,
        "cases": cases,
        "corpora": corpora,
        "stems": [[word, stemmer.stem(word)] for word in words],
    }
    args.output.write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace('{"text"', '\n{"text"') + "\n")
    print(f"{len(cases)} cases, {len(corpora)} corpora, {len(words)} words")


if __name__ == "__main__":
    main()
